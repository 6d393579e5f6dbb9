#!/usr/bin/env python3
"""Makes encryption.json: values as an API server encrypts them, made by other implementations than ours.

    pip install cryptography==50.0.2 pynacl==1.6.2; encryption.py > encryption.json

The keys and the random starts are counted, not drawn: they open nothing, and the file is the same each time.
"""

import base64
import json

import nacl.secret
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ETCD_KEY = b"/registry/secrets/default/db"
PLAIN = b"k8s\x00\n\x0c\n\x02v1\x12\x06Secret\x12\x00\x1a\x00\x22\x00"


def counted(start, length):
    return bytes((start + i) % 256 for i in range(length))


def aescbc(key, plain):
    start = counted(100, 16)
    padder = padding.PKCS7(128).padder()
    padded = padder.update(plain) + padder.finalize()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(start)).encryptor()
    return start + encryptor.update(padded) + encryptor.finalize()


def aesgcm(key, plain):
    nonce = counted(100, 12)
    return nonce + AESGCM(key).encrypt(nonce, plain, ETCD_KEY)


def secretbox(key, plain):
    return bytes(nacl.secret.SecretBox(key).encrypt(plain, counted(100, 24)))


PROVIDERS = (("aescbc", aescbc, (16, 24, 32)), ("aesgcm", aesgcm, (16, 24, 32)), ("secretbox", secretbox, (32,)))
vectors = []
for provider, encrypt, sizes in PROVIDERS:
    for size in sizes:
        # Padding of one byte, of a whole block, of something between, and of nothing else.
        for length in (len(PLAIN), 16, 15, 0):
            key = counted(size, size)
            plain = (PLAIN + counted(0, 16))[:length]
            name = f"key{size}"
            value = f"k8s:enc:{provider}:v1:{name}:".encode() + encrypt(key, plain)
            encoded = {"secret": key, "plain": plain, "value": value}
            encoded = {field: base64.b64encode(data).decode() for field, data in encoded.items()}
            vectors.append({"provider": provider, "name": name, **encoded})
print(json.dumps({"etcdKey": ETCD_KEY.decode(), "vectors": vectors}, indent=1))
