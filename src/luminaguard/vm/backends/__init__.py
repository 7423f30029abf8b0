"""One package per program that can run micro-VMs; each implements `vm.hypervisor`."""
