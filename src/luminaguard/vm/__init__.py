"""Everything about machines, nothing about approval.

`hypervisor.py` is the contract; each backend lives in `backends/<name>/`. `channel.py` is the host
end of the guest wire, `guest.py` the typed operations on top of it.
"""
