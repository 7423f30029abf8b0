"""The Apple backend: Virtualization.framework on macOS, through PyObjC.

`backend.py` is the `Hypervisor`. Below it, from the top: `launch.py` makes machines, `machine.py`
is the engine of one, `saved.py` checks saved ones, `record.py` remembers what a probe found,
`handle.py` is one machine of the framework's, `configuration.py` describes one to it, `kernel.py`
unpacks what it boots, `work.py` crosses from the event loop to its dispatch queue, `jail.py` and
`host.py` say what is missing, `framework.py` names the classes and selectors used, and
`pyobjc.py` is the only module that meets the real ones.

What runs elsewhere than on a Mac is tested against a typed double of the classes; what was run on a
Mac is said in docs/reference/backends/apple.md.
"""
