"""Record batches (magic 2), well formed and not."""
import struct


def crc32c_table():
    table = []
    for index in range(256):
        for _ in range(8):
            index = (index >> 1) ^ (0x82F63B78 if index & 1 else 0)
        table.append(index)
    return table


TABLE = crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def varint(value):
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(data + bytes([value]))


def zigzag(value):
    return varint(value << 1 ^ value >> 63)


def record(offset_delta, key, value, timestamp_delta=0, headers=()):
    def sized(data):
        return zigzag(-1) if data is None else zigzag(len(data)) + data
    body = b"\x00" + zigzag(timestamp_delta) + zigzag(offset_delta) + sized(key) + sized(value) + zigzag(len(headers))
    for name, content in headers:
        body += sized(name) + sized(content)
    return zigzag(len(body)) + body


def batch(values, *, keys=None, base_offset=0, epoch=-1, magic=2, attributes=0, last_offset_delta=None, base_timestamp=1_700_000_000_000,
          max_timestamp=None, producer_id=-1, producer_epoch=-1, sequence=-1, count=None, break_crc=False, extra=b"", records=None):
    if records is None:
        keys = keys or [b"k"] * len(values)
        records = b"".join(record(index, key, value) for index, (key, value) in enumerate(zip(keys, values)))
    count = len(values) if count is None else count
    last_offset_delta = count - 1 if last_offset_delta is None else last_offset_delta
    covered = struct.pack(">hiqqqhii", attributes, last_offset_delta, base_timestamp,
                          base_timestamp if max_timestamp is None else max_timestamp, producer_id, producer_epoch, sequence, count)
    covered += records + extra
    crc = crc32c(covered) ^ (1 if break_crc else 0)
    rest = struct.pack(">ibI", epoch, magic, crc) + covered
    return struct.pack(">qi", base_offset, len(rest)) + rest
