"""The program inside the guest. Standard library only; copied into the template at boot."""
