#!/usr/bin/env python3
"""Records what kubectl prints of object.yaml by JSONPath, offline: `./record.py > jsonpath.json`.

The tests of kubectl-etcd/src/json_path compare with it.
"""

import json
import subprocess

PATHS = r"""
{.spec.containers[*].name}
{.spec.containers[0,2].name}
{.metadata.annotations['a.b/c']}
{.metadata.annotations['a\.b/c']}
{.metadata.annotations.a\.b/c}
{.metadata['name']}
{['metadata']['name']}
{.spec.containers[-1].name}
{.spec.containers[-2:].name}
{.spec.containers[0:2].name}
{.spec.containers[0:-1].name}
{.spec.containers[:2].name}
{.spec.containers[1:].name}
{.spec.containers[::2].name}
{.spec.containers[::0].name}
{.spec.containers[2:1].name}
{.spec.containers[1:9].name}
{.spec.containers[:].name}
{.spec.containers[1:1].name}|
{.spec.containers[5].name}
{.spec.containers[-9].name}
{.spec.containers[0]}
{.spec.containers}
{.spec.containers[*].ports[*].containerPort}
{.spec.containers[*].ports[0].containerPort}
{.spec.containers[0].ports[*].containerPort}
{range .spec.containers[*]}{.name}{"\t"}{.image}{"\n"}{end}x
{range .spec.containers[*]}{.name},
{range .spec.containers[*]}{range .ports[*]}{.containerPort},{end};{end}.
{range .nope[*]}{.x}{end}-
{range .nope[*]}{range .x[*]}{.y}{end}{end}-{.kind}
{range .list[*]}[{@}]{end}
{range .spec.containers[?(@.name!="b")]}{.name}{end}
{range .metadata.labels}{.app}{end}
{range $.spec.containers[*]}{$.name}{end}
{end}
{foo}
{.spec.containers[?(@.name=="b")].image}
{.spec.containers[?(@.name=='b')].image}
{.spec.containers[?(@.name == "b")].image}
{.spec.containers[?(@.name!="b")].name}
{.spec.containers[?(@.name<"c")].name}
{.spec.containers[?(@.name>="b")].name}
{.spec.containers[?(@.ports)].name}
{.spec.containers[?(@.ports[0])].name}
{.spec.containers[?(@.ports[*].containerPort>79)].name}
{.spec.containers[?(@.ports[*].containerPort==80)].name}
{.spec.containers[?(@.ports[*].containerPort==80.0)].name}
{.spec.containers[?(@.ports[*].containerPort=="80")].name}
{.spec.containers[?(@.nope=="b")].name}
{.spec.containers[?(@.name=="b" || @.name=="a")].name}
{.spec.containers[?(@.name)]}
{.spec.containers[?(@.name=~"b")].name}
{.spec.containers[?(@.name=="b").image}
{.spec.containers[?(@.name=="b"].image}
{.spec.containers[?(@.image=="i:2<&>")].name}
{.spec.containers[?(@.image!="(x)")].name}
{.metadata[?(@.name=="web")]}
{.list[?(@>1)]}
{.list[?(@==2)]}
{.list[0:2]}
{.list[?(@.a=="b")].a}
{.list[2][1]}
{.list[2:4]}
{.list[*]}
{.list[4].a}
{..containerPort}
{.spec..image}
{.spec...name}
{.spec.containers.*.name}
{.metadata.labels}
{.spec.containers[*]["name","image"]}
{.spec.containers[*]['name','image']}
{.metadata['name', 'labels']}
{$.metadata.name} {@.kind}
{.metadata.name}{.kind}
{.metadata.name .kind}
{.metadata .name}
{.spec.containers[*].name} {.kind}
{'it'}
{"a\"b"}
{"a\tb\u0041\x42\n"}
{'a\'b'}
{"open}
{true}
{5}
{-5.5}
{5x}
.metadata.name
metadata.name
plain text
{.metadata.labels.example\.com/x}
{.metadata.labels.example.com/x}
{.metadata.name
{{.metadata.name}}
{.spec.containers[a]}
{.spec.containers[0}
{.spec.containers['name}
{.kind[0]}
{.kind[*]}
{.count[0]}
{.kind[?(@.x)]}
{.nope[0]}
{.nope[0].x}
{.nope}
a{.nope}b
{.count} {.big} {.ratio} {.large} {.whole} {.flag}
{.nothing}
{.nothing.x}
{.nothing[0]}
{.empty}
{.empty[*]}
{.empty[0]}
{.empty[-1]}
{.empty[0:0]}
{.}
{$}
{@}
{}
{.metadata.}
{.metadata.*.app}
{.metadata-name}
{.metadata!name}
{!}
{.spec.containers[*].name,.kind}
{.spec.containers[+1].name}
{.spec.containers[ 1 ].name}
{.spec.containers[0, 1].name}
{.spec.containers[0,'x'].name}
{.spec.containers[99999999999999999999].name}
""".strip("\n").split("\n")

JSON_PATHS = [
    "{.spec.containers[*].name}",
    "{.spec.containers[1]}",
    "{.metadata.name}{.kind}",
    "{.nope}",
    "{.empty}",
    "{range .spec.containers[*]}{.image}{end}",
    "{.list[*]}",
]

def run(output):
    """kubectl's own output, or the first line of its error."""
    words = ["kubectl", "label", "--local", "-f", "object.yaml", "app=web", "-o", output]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    if ran.returncode == 0:
        return {"output": output, "stdout": ran.stdout}
    return {"output": output, "error": ran.stderr.split(". Printing more", 1)[0].strip()}


def main():
    """Prints all of it."""
    cases = [run(f"jsonpath={path}") for path in PATHS]
    cases += [run(f"jsonpath-as-json={path}") for path in JSON_PATHS]
    print(json.dumps(cases, indent=1))


if __name__ == "__main__":
    main()
