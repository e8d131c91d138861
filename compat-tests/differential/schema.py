"""Kafka messages as dictionaries, by the JSON schemas that kafka-python carries: a codec that shares no code with Ottla's."""
import importlib.resources
import json
import re
import struct
import uuid

from record_batch import varint

# Fields that had another value than their default so far, by message and identity: what was sent, what was sent as null, and what was answered.
SENT, NULL_SENT, RECEIVED = set(), set(), set()

FIXED = {"int8": ">b", "int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "int64": ">q", "float64": ">d", "bool": ">?"}


def load(name):
    text = importlib.resources.files("kafka.protocol.schemas.resources").joinpath(name + ".json").read_text()
    return json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))


def covers(versions, version):
    if not versions or versions == "none":
        return False
    first, _, last = versions.partition("-")
    if first.endswith("+"):
        return version >= int(first[:-1])
    return int(first) <= version <= int(last or first)


class Message:
    """One request or response, all versions."""

    def __init__(self, name):
        self.schema = load(name)
        self.key = self.schema.get("apiKey")
        self.structs = {entry["name"]: entry["fields"] for entry in self.schema.get("commonStructs", [])}

    def flexible(self, version):
        return covers(self.schema.get("flexibleVersions"), version)

    def versions(self):
        first, _, last = self.schema["validVersions"].partition("-")
        return range(int(first), int(last or first) + 1)

    def encode(self, body, version):
        return Writer(self, version).struct(self.schema["fields"], body)

    def decode(self, data, version):
        reader = Reader(self, version, data)
        body = reader.struct(self.schema["fields"])
        assert reader.position == len(data), f"{len(data) - reader.position} bytes left over"
        return body

    def all_fields(self, fields=None, path=""):
        """Every field with its path."""
        for field in self.schema["fields"] if fields is None else fields:
            yield f"{path}.{field['name']}", field
            inner = self.fields_of(field, field["type"].lstrip("[]"))
            if inner:
                yield from self.all_fields(inner, f"{path}.{field['name']}")

    def fields_of(self, field, kind):
        return field.get("fields") or self.structs.get(kind)


def present(field, version):
    return covers(field["versions"], version)


def tagged(field, version):
    return covers(field.get("taggedVersions"), version)


def default_of(field):
    kind, default = field["type"], field.get("default")
    if default == "null":
        return None
    if kind.startswith("[]"):
        return []
    if kind in FIXED:
        if default is None:
            return False if kind == "bool" else 0
        if isinstance(default, str):
            return default == "true" if kind == "bool" else (float(default) if kind == "float64" else int(default, 0))
        return default
    if kind == "uuid":
        return uuid.UUID(int=0)
    if kind == "string":
        return default or ""
    return b"" if kind in ("bytes", "records") else {}


def element_of(field):
    """An array may be null where its elements may not."""
    return {name: value for name, value in field.items() if name != "nullableVersions"}


def capital(name):
    return name[0].upper() + name[1:]


class Writer:
    def __init__(self, message, version):
        self.message, self.version, self.flexible = message, version, message.flexible(version)

    def struct(self, fields, body):
        body = {name.lower(): value for name, value in body.items()}  # the schemas differ in how they capitalise
        unknown = set(body) - {field["name"].lower() for field in fields}
        assert not unknown, f"no field {unknown}"
        data, tags = b"", []
        for field in fields:
            value = body.get(field["name"].lower(), default_of(field))
            if not present(field, self.version):
                continue
            if value != default_of(field):
                SENT.add((self.message.schema["name"], id(field)))
            if value is None:
                NULL_SENT.add((self.message.schema["name"], id(field)))
            if tagged(field, self.version):
                if value != default_of(field):
                    tags.append((field["tag"], self.value(field, field["type"], value)))
            else:
                data += self.value(field, field["type"], value)
        if self.flexible:
            data += varint(len(tags)) + b"".join(varint(tag) + varint(len(part)) + part for tag, part in sorted(tags))
        return data

    def length(self, value, width):
        if self.flexible:
            return varint(0 if value is None else len(value) + 1)
        return struct.pack(width, -1 if value is None else len(value))

    def value(self, field, kind, value):
        if kind in FIXED:
            return struct.pack(FIXED[kind], value)
        if kind == "uuid":
            return value.bytes
        if kind == "string":
            value = None if value is None else value.encode()
            return self.length(value, ">h") + (value or b"")
        if kind in ("bytes", "records"):
            return self.length(value, ">i") + (value or b"")
        if kind.startswith("[]"):
            return self.length(value, ">i") + b"".join(self.value(element_of(field), kind[2:], item) for item in value or [])
        fields = self.message.fields_of(field, kind)
        if covers(field.get("nullableVersions"), self.version):
            return b"\xff" if value is None else b"\x01" + self.struct(fields, value)
        return self.struct(fields, value)


class Reader:
    def __init__(self, message, version, data):
        self.message, self.version, self.data, self.position = message, version, data, 0
        self.flexible = message.flexible(version)

    def take(self, count):
        assert count <= len(self.data) - self.position, "the answer ends early"
        self.position += count
        return self.data[self.position - count:self.position]

    def varint(self):
        value, shift = 0, 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def struct(self, fields):
        body = {}
        for field in fields:
            if present(field, self.version):
                body[capital(field["name"])] = default_of(field) if tagged(field, self.version) else self.value(field, field["type"])
                self.note(field, body)
        if self.flexible:
            by_tag = {field["tag"]: field for field in fields if tagged(field, self.version) and present(field, self.version)}
            for _ in range(self.varint()):
                tag, length = self.varint(), self.varint()
                end = self.position + length
                field = by_tag.get(tag)
                if field is None:
                    body[f"unknown tag {tag}"] = self.take(length)
                else:
                    body[capital(field["name"])] = self.value(field, field["type"])
                    self.note(field, body)
                assert self.position == end, f"tag {tag} has another length"
        return body

    def note(self, field, body):
        if body[capital(field["name"])] != default_of(field):
            RECEIVED.add((self.message.schema["name"], id(field)))

    def length(self, width):
        if self.flexible:
            return self.varint() - 1
        return struct.unpack(width, self.take(struct.calcsize(width)))[0]

    def value(self, field, kind):
        if kind in FIXED:
            return struct.unpack(FIXED[kind], self.take(struct.calcsize(FIXED[kind])))[0]
        if kind == "uuid":
            return uuid.UUID(bytes=self.take(16))
        if kind in ("string", "bytes", "records"):
            length = self.length(">h" if kind == "string" else ">i")
            if length < 0:
                return None
            data = self.take(length)
            return data.decode() if kind == "string" else data
        if kind.startswith("[]"):
            length = self.length(">i")
            return None if length < 0 else [self.value(element_of(field), kind[2:]) for _ in range(length)]
        if covers(field.get("nullableVersions"), self.version) and struct.unpack(">b", self.take(1))[0] < 0:
            return None
        return self.struct(self.message.fields_of(field, kind))
