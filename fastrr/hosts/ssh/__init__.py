"""Hosts reached by SSH. The only importer of paramiko."""
