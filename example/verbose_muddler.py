# A muddler changes a configuration after it was read: fastrr -c config.py -m verbose_muddler.py
# This one puts every client under a wrapper program that traces it.


def muddle(config):
    for component in config.all_remote_components():
        if component.name.startswith("client"):
            component.args = ["-x", component.executable, *component.args]
            component.executable = "/bin/sh"
