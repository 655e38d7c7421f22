"""The Python side of packs: lmdb and, where it is installed, lmdbdict, with which the authors' packer writes.

lmdb-peer.py read PACK: prints, as JSON, the key list and for each key the SHA-256 of its image.
lmdb-peer.py write PACK COUNT: writes a pack of COUNT pseudo-random byte strings and its info file, and prints the same.
"""
import hashlib
import json
import os
import pickle
import sys

import lmdb

try:
    from lmdbdict import lmdbdict
except ImportError:
    lmdbdict = None


def image(number):
    seed = hashlib.sha256(str(number).encode()).digest()
    return seed * (1 + number * 7 % 900)


def read_plain(path):
    # With the lock file where there is one, as the loader of the reference implementation opens it.
    with lmdb.open(path, subdir=False, readonly=True, lock=os.path.exists(path + '-lock')) as env, env.begin() as transaction:
        keys = pickle.loads(transaction.get(b'__keys__'))
        assert env.stat()['entries'] == len(keys) + 5, env.stat()
        for name in (b'__key_dumps__', b'__key_loads__', b'__value_dumps__', b'__value_loads__'):
            assert pickle.loads(transaction.get(name)) is None, name
        return {key: pickle.loads(transaction.get(pickle.dumps(key))) for key in keys}


def read_with_lmdbdict(path):
    records = lmdbdict(path, mode='r')
    return {key: records[key] for key in records.keys()}


def write_plain(path, records):
    with lmdb.open(path, subdir=False, map_size=1 << 30, lock=False) as env, env.begin(write=True) as transaction:
        for name in (b'__key_dumps__', b'__key_loads__', b'__value_dumps__', b'__value_loads__'):
            transaction.put(name, pickle.dumps(None))
        for key, value in records.items():
            transaction.put(pickle.dumps(key), pickle.dumps(value))
        transaction.put(b'__keys__', pickle.dumps(list(records)))


def write_with_lmdbdict(path, records):
    out = lmdbdict(path, mode='w')
    for key, value in records.items():
        out[key] = value
    out.flush()


def main():
    action, path = sys.argv[1:3]
    if action == 'write':
        records = {f'demo-{n:04}': image(n) for n in range(int(sys.argv[3]))}
        (write_with_lmdbdict if lmdbdict else write_plain)(path, records)
        infos = {
            key: {'id': key[5:], 'basename': f'{key[5:]}.png', 'prompt': f'image {key}', 'width': 8, 'height': 9}
            for key in records
        }
        with open(f'{path}-info.json', 'w') as file:
            json.dump(infos, file, indent=4)
    else:
        records = read_plain(path)
        if lmdbdict:
            assert read_with_lmdbdict(path) == records
    hashes = {key: hashlib.sha256(value).hexdigest() for key, value in records.items()}
    print(json.dumps({'keys': list(records), 'hashes': hashes, 'lmdb': lmdb.__version__, 'lmdbdict': lmdbdict is not None}))


main()
