"""Taking part at an address of one's own: the coordinator calls it there.

``accounts.run(listen=Listener("0.0.0.0:7800", ...))`` instead of, or beside, attaching
to the coordinator's nodes. ``listener`` says where and who may call, ``server`` takes
calls.
"""

from participant_sdk.push.listener import Listener

__all__ = ["Listener"]
