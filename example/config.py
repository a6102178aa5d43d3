# An example for fastrr: a small service and its clients on three hosts, started in two stages.
#
#   fastrr -c example/config.py -X hosts=node[1-3]
#
# The names config, Component, util, options, extra_options and localhost are provided.

names = util.hosts(extra_options.hosts)

# What all components have in common. add_component() takes a copy, so one object serves as a
# template again and again.
component = Component()
component.base_dir = "fastrr-example"  # relative to the login directory on the host
component.executable = "bin/service.sh"  # relative to base_dir
component.files = util.recursive_files_dict("data", "data")
component.files["bin/service.sh"] = "bin/service.sh"
component.files["bin/client.sh"] = "bin/client.sh"
component.dirs = ["results"]

# Stage 1: a service on every host.
component.start_index = 1
for number, component.host in enumerate(names, 1):
    component.name = f"service {number}"
    component.args = ["--listen", "unix:/tmp/service", "--greeting", "it's $5 & up"]
    config.add_component(component)

# Stage 2: once all services have been started, two clients on each host. We wait for them.
component.start_index = 2
component.executable = "bin/client.sh"
component.wait = True
for component.host in names:
    for load in ("light", "heavy"):
        component.name = f"client {load}"
        component.args = [load]
        component.env = {"RESULTS": "results"}
        config.add_component(component)

# A component that runs here, on the controller. It can't have files.
monitor = Component(name="monitor", host=localhost, start_index=2)
monitor.executable = "bin/monitor.sh"  # on localhost: relative to this file
monitor.base_dir = "/tmp"
monitor.args = names
config.add_component(monitor)
