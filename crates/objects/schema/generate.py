#!/usr/bin/env python3
"""Makes kubernetes.txt: what the API types of Kubernetes look like in protobuf and in JSON.

    generate.py DIRECTORY > kubernetes.txt

DIRECTORY holds git checkouts (bare ones, too) with all tags, named api, apimachinery, apiextensions-apiserver and
kube-aggregator (github.com/kubernetes/...). Of every minor version from FIRST to LAST the newest patch release is read:
numbers and types from generated.proto, JSON names and what is left out when empty from the Go structs' tags. Where
versions differ the newest wins. What only older ones had stays, marked with the last version that had it.

Only names and numbers are taken over; the form is described in the header that `HEADER` writes.
"""

import io
import re
import subprocess
import sys
import tarfile
from pathlib import Path

FIRST, LAST = 19, 36
CHECKOUTS = ["api", "apimachinery", "apiextensions-apiserver", "kube-aggregator"]

HEADER = """\
# Kubernetes API types in protobuf and JSON: facts read by generate.py from the tags of
{sources}
# @PACKAGE APIVERSION   starts the messages of a package; - where there is no API version.
# NAME                  starts a message. NAME! is a kind of its own, NAME[] a list in JSON that is wrapped in a message.
# NUMBER JSON-NAME TYPE [FLAGS] [+SINCE] [-LAST]
#   TYPE   * a pointer, [] a list, {{}} a map from strings, nothing a value; then str, bytes, bool, i32, i64, f64 or a message
#   FLAGS  ? left out of JSON when empty, 0 left out when zero, < its fields stand in JSON among those of this message
#   SINCE  the first Kubernetes 1.N that had it, when that is after 1.{first}; LAST the last one, when that is before 1.{last}
"""

PACKAGES = {
    "k8s.io.apimachinery.pkg.api.resource": "quantity",
    "k8s.io.apimachinery.pkg.apis.meta.": "meta/",
    "k8s.io.apimachinery.pkg.runtime": "runtime",
    "k8s.io.apimachinery.pkg.util.intstr": "intstr",
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.": "apiextensions/",
    "k8s.io.kube_aggregator.pkg.apis.apiregistration.": "apiregistration/",
    "k8s.io.api.": "",
}
SCALARS = {"string": "str", "bytes": "bytes", "bool": "bool", "int32": "i32", "int64": "i64", "double": "f64"}

# Types whose JSON is made by code of their own: the Go struct says nothing about it.
OWN_JSON = {
    "meta/v1.Time", "meta/v1.MicroTime", "meta/v1.Timestamp", "meta/v1.Duration", "meta/v1.FieldsV1", "meta/v1.Verbs",
    "quantity.Quantity", "quantity.QuantityValue", "intstr.IntOrString", "runtime.RawExtension", "runtime.Unknown",
    "apiextensions/v1.JSON", "apiextensions/v1beta1.JSON",
}

# Another name of meta/v1.List: only ever sent.
NOT_STORED = {"core/v1.List"}


def fail(message):
    sys.exit(f"generate.py: {message}")


def git(repository, *arguments):
    return subprocess.run(["git", "-C", repository, *arguments], check=True, capture_output=True).stdout


def newest_tags(repository):
    """{minor: tag} of the newest patch release of each minor version."""
    newest = {}
    for tag in git(repository, "tag").decode().split():
        if match := re.fullmatch(r"v0\.(\d+)\.(\d+)", tag):
            minor, patch = map(int, match.groups())
            newest[minor] = max(newest.get(minor, (-1, "")), (patch, tag))
    return {minor: tag for minor, (_, tag) in newest.items()}


def sources(repository, tag):
    """{directory: {file: text}} of what counts."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(git(repository, "archive", "--format=tar", tag))) as archive:
        for member in archive:
            path = Path(member.name)
            counts = path.name == "generated.proto" or path.suffix == ".go" and not (
                path.name.endswith("_test.go") or "generated" in path.name
            )
            if member.isfile() and counts:
                text = archive.extractfile(member).read().decode()
                found.setdefault(str(path.parent), {})[path.name] = text
    return {directory: files for directory, files in found.items() if "generated.proto" in files}


def short(proto_package):
    for prefix, name in PACKAGES.items():
        if proto_package == prefix or prefix.endswith(".") and proto_package.startswith(prefix):
            return name + proto_package.removeprefix(prefix).replace(".", "/")
    fail(f"unexpected package {proto_package}")


def parse_proto(text):
    """(package, {message: {number: (name, cardinality, type)}})"""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.S)
    package = re.search(r"^package ([\w.]+);", text, re.M).group(1)
    messages = {}
    for name, body in re.findall(r"^message (\w+) \{(.*?)^\}", text, re.M | re.S):
        fields = messages[name] = {}
        for statement in body.split(";"):
            statement = " ".join(statement.split())
            if not statement or statement.startswith("reserved "):
                continue
            if match := re.fullmatch(r"map<string, ([\w.]+)> (\w+) = (\d+)", statement):
                kind, cardinality = match.group(1), "{}"
            elif match := re.fullmatch(r"(optional|required|repeated) ([\w.]+) (\w+) = (\d+)", statement):
                kind, cardinality = match.group(2), "[]" if match.group(1) == "repeated" else ""
            else:
                fail(f"unexpected in {package}.{name}: {statement}")
            number = int(match.groups()[-1])
            fields[number] = (match.groups()[-2], cardinality, type_name(kind, package))
    return package, messages


def type_name(kind, package):
    if kind in SCALARS:
        return SCALARS[kind]
    if "." not in kind:
        return f"{short(package)}.{kind}"
    owner, _, name = kind.lstrip(".").rpartition(".")
    return f"{short(owner)}.{name}"


def parse_go(files):
    """({struct: {number: (go type, json name, options, embedded)}}, kinds, list types, {type: its origin}, group)"""
    structs, kinds, lists, copies, group = {}, set(), set(), {}, None
    for name, text in sorted(files.items()):
        if not name.endswith(".go"):
            continue
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        text = re.sub(r"^((?:[^`\n]|`[^`\n]*`)*?)//[^\n]*$", r"\1", text, flags=re.M)
        if match := re.search(r'^const GroupName = "([^"]*)"', text, re.M):
            group = match.group(1)
        lists.update(re.findall(r"^type (\w+) \[\](?!byte)", text, re.M))
        copies.update(re.findall(r"^type (\w+) (v\d\w*\.\w+)$", text, re.M))
        text = re.sub(r"struct ?\{\}", "struct {\n}", text)
        for name, body in re.findall(r"^type (\w+) struct \{\n(.*?)^\}", text, re.M | re.S):
            fields = structs[name] = {}
            for line in body.splitlines():
                match = re.match(r"\s*(?:(\w+)\s+)?([\w.*\[\]]+)\s*(?:`(.*)`)?\s*$", line)
                if not match or not match.group(2):
                    continue
                identifier, go_type, tag = match.groups()
                tags = dict(re.findall(r'(\w+):"([^"]*)"', tag or ""))
                json_name, *options = tags.get("json", "").split(",")
                if identifier is None and go_type in ("metav1.TypeMeta", "TypeMeta", "v1.TypeMeta"):
                    if "protobuf" not in tags and not json_name:
                        kinds.add(name)
                    continue
                if "protobuf" not in tags or tags["protobuf"] == "-":
                    continue
                number = int(tags["protobuf"].split(",")[1])
                embedded = identifier is None and not json_name
                json_name = json_name or identifier or go_type.rpartition(".")[2]
                fields[number] = (go_type, json_name, options, embedded)
    return structs, kinds, lists, copies, group


def read(repository, tag):
    """{package: (API version, {message: (mark, {number: (json name, type, flags)})})}"""
    packages = {}
    by_directory = sources(repository, tag)
    for directory, files in by_directory.items():
        if re.search(r"testing|testapigroup|example|schema$", directory):
            continue
        proto_package, messages = parse_proto(files["generated.proto"])
        package = short(proto_package)
        structs, kinds, lists, copies, group = parse_go(files)
        version = directory.rpartition("/")[2]
        api_version = "-" if group is None else f"{group}/{version}".lstrip("/")
        for copy, origin in copies.items():
            sibling, _, name = origin.partition(".")
            structs[copy] = parse_go(by_directory[f"{directory.rpartition('/')[0]}/{sibling}"])[0].get(name)
        out = {}
        for message, fields in messages.items():
            full = f"{package}.{message}"
            if full in NOT_STORED:
                continue
            if full in OWN_JSON or message in lists or not isinstance(structs.get(message), dict):
                if not (full in OWN_JSON or message in lists):
                    fail(f"{tag}: no Go struct for {full}")
                mark = "[]" if message in lists else ""
                shown = {number: (name, cardinality + kind, "") for number, (name, cardinality, kind) in fields.items()}
                out[message] = (mark, shown)
                continue
            shown = {}
            go_fields = structs[message]
            if set(go_fields) != set(fields):
                fail(f"{tag}: {full} has {sorted(fields)} in generated.proto and {sorted(go_fields)} in Go")
            for number, (name, cardinality, kind) in fields.items():
                go_type, json_name, options, embedded = go_fields[number]
                pointer = go_type.startswith("*")
                if cardinality and pointer or cardinality == "[]" and go_type.startswith("[]*"):
                    fail(f"{tag}: {full}.{name} is a {go_type}")
                flags = "".join(flag for option, flag in (("omitempty", "?"), ("omitzero", "0")) if option in options)
                if embedded:
                    if pointer or cardinality:
                        fail(f"{tag}: {full}.{name} is an embedded {go_type}")
                    flags = "<"
                shown[number] = (json_name, ("*" if pointer else cardinality) + kind, flags)
            out[message] = ("!" if message in kinds else "", shown)
        packages[package] = (api_version, out)
    return packages


def merge(all_packages, minor, packages):
    """Lays a newer version over what is known. Kept are [fact, first minor, last minor]."""
    for package, (api_version, messages) in packages.items():
        known_package = all_packages.setdefault(package, [api_version, {}])
        known_package[0] = api_version
        for message, (mark, fields) in messages.items():
            known = known_package[1].setdefault(message, [mark, minor, {}])
            known[:2] = [mark, minor]
            for number, fact in fields.items():
                old = known[2].get(number)
                if old and old[0][0] != fact[0] and "<" not in fact[2]:
                    print(f"1.{minor}: {package}.{message} {number}: {old[0]} became {fact}", file=sys.stderr)
                    old = None
                for other, entry in list(known[2].items()):
                    if other != number and entry[0][0] == fact[0] and entry[2] < minor and other not in fields:
                        print(f"1.{minor}: {package}.{message} {fact[0]}: {other} became {number}", file=sys.stderr)
                        del known[2][other]
                known[2][number] = [fact, old[1] if old else minor, minor]


def main():
    root = Path(sys.argv[1])
    repositories = {name: root / name for name in CHECKOUTS}
    tags = {name: newest_tags(path) for name, path in repositories.items()}
    everything = {}
    for minor in range(FIRST, LAST + 1):
        for name, path in repositories.items():
            merge(everything, minor, read(path, tags[name][minor]))
    used = []
    for name in CHECKOUTS:
        used.append(" ".join(["#  ", f"github.com/kubernetes/{name}", *(tags[name][n] for n in range(FIRST, LAST + 1))]))
    print(HEADER.format(sources="\n".join(used), first=FIRST, last=LAST), end="")
    for package, (api_version, messages) in sorted(everything.items()):
        print(f"@{package} {api_version}")
        for message, (mark, message_last, fields) in sorted(messages.items()):
            print(f"{message}{mark}")
            for number, ((name, kind, flags), since, last) in sorted(fields.items()):
                kind = re.sub(rf"(?<![\w/]){re.escape(package)}\.", "", kind)
                retired = last < message_last
                # What newer versions do not have they do not show empty, either.
                if retired and "<" not in flags and "0" not in flags:
                    flags += "0"
                words = [str(number), name, kind, flags]
                words += [f"+{since}"] if since > FIRST else []
                words += [f"-{last}"] if last < LAST else []
                print(" ".join(word for word in words if word))


main()
