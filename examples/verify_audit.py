"""Verify a LuminaGuard audit export without LuminaGuard.

    luminaguard audit export log.jsonl
    python verify_audit.py log.jsonl [PUBLIC_KEY_HEX]

Give the public key that you noted when the log began: without it, an export that somebody
rewrote and signed with a key of their own would pass. Exit code 0: everything holds.
"""

import hashlib
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def canonical(value: object) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def verify(key: str, what: str, signed: dict) -> None:
    content = f"luminaguard audit {what} 1\n".encode() + canonical(signed["head"])
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
    public.verify(bytes.fromhex(signed["signature"]), content)


def problem_in(path: str, expected_key: str | None) -> str | None:
    with open(path, "rb") as lines:
        start = json.loads(next(lines, b"{}"))
        head, key = start["head"], start["public_key"]
        if expected_key and key != expected_key:
            return "the export is signed with another key than expected"
        root = start.get("root")  # where older records were taken out, if ever they were
        try:
            verify(key, "head", start)
            if root:
                verify(key, "root", root)
        except InvalidSignature:
            return "a signature does not hold"
        begin = root["head"] if root else {"seq": 0, "hash": "0" * 64}
        seq, previous = begin["seq"], begin["hash"]
        for seq, line in enumerate(lines, begin["seq"] + 1):
            record = json.loads(line)
            stated = record.pop("hash")
            if record["seq"] != seq or record["prev"] != previous:
                return f"record {seq} is not the one that follows"
            if hashlib.sha256(canonical(record | {"v": start["v"]})).hexdigest() != stated:
                return f"record {seq} does not match its hash"
            if seq == 1 and record["body"]["public_key"] != key:
                return "record 1 was begun with another key"
            previous = stated
    if (seq, previous) != (head["seq"], head["hash"]):
        return f"the records end at {seq}, not where the head says"
    return None


if __name__ == "__main__":
    found = problem_in(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
    print(found or "ok: every record is chained, and the head is signed")
    sys.exit(1 if found else 0)
