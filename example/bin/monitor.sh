#!/bin/sh
# Stands for a monitor on the controller.
echo "monitoring from $(hostname): $*"
sleep 600
