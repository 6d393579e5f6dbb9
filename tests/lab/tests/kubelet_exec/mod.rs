//! Exec, frame by frame as it was recorded. The frames are read from the bytes: a library would hide fin and opcode.

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::kubelet_support::{self, Admin, PODS, pod};

const STDIN: u8 = 0;
const STATUS: u8 = 3;
const CLOSE_CHANNEL: u8 = 255;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
/// What was recorded of a frame's data.
const RECORDED: usize = 160;

#[derive(Debug, PartialEq)]
struct Frame {
    fin: bool,
    opcode: u8,
    data: Vec<u8>,
}

async fn frame(stream: &mut (impl AsyncRead + Unpin)) -> Frame {
    let [first, second] = stream.read_u16().await.expect("a frame comes").to_be_bytes();
    let length = match second {
        126 => u64::from(stream.read_u16().await.expect("a length")),
        127 => stream.read_u64().await.expect("a length"),
        short => u64::from(short),
    };
    let mut data = vec![0; usize::try_from(length).expect("it fits")];
    stream.read_exact(&mut data).await.expect("the frame is whole");
    Frame { fin: first & 0x80 != 0, opcode: first & 0x7f, data }
}

/// A frame as a client sends it, masked with zeros.
async fn send(stream: &mut (impl AsyncWrite + Unpin), data: &[u8]) -> std::io::Result<()> {
    let mut bytes = vec![0x80 | BINARY, 0x80 | 127];
    bytes.extend((data.len() as u64).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(data);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// A status as Go writes it, the fields in the order of their declaration, as far as what was recorded goes.
fn as_go_writes(data: &[u8]) -> String {
    let status: Value = serde_json::from_slice(data).expect("a status is JSON");
    let fields = ["metadata", "status", "message", "reason", "details", "code"];
    let fields = fields.iter().filter(|name| status.get(**name).is_some());
    let fields: Vec<String> = fields.map(|name| format!("{name:?}:{}", status[*name])).collect();
    format!("{{{}}}", fields.join(","))
}

fn recorded(text: &str) -> String {
    text.chars().take(RECORDED).collect()
}

/// Runs a recorded case and compares everything that does not depend on how a pipe was read.
async fn replay(admin: &Admin, case: &Value) {
    let name = case["case"].as_str().expect("a name");
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for word in case["command"].as_array().expect("words") {
        query.append_pair("command", word.as_str().expect("a word"));
    }
    if name != "no streams asked" {
        query.append_pair("stdout", "1").append_pair("stderr", "1");
    }
    if !case["stdin"].is_null() {
        query.append_pair("stdin", "1");
    }
    if name == "no such container" {
        query.append_pair("container", "nope");
    }
    let pod = if name == "no such pod" { "nopod" } else { "agent-cp1" };
    let path = format!("{PODS}/{pod}/exec?{}", query.finish());
    let (head, mut stream) = admin.upgrade(&path, case["offered"].as_str().expect("a protocol")).await;
    let said: Vec<String> = head.lines().map(str::to_ascii_lowercase).collect();
    for line in case["response"].as_array().expect("lines") {
        let line = line.as_str().expect("a line");
        assert!(said.contains(&line.to_ascii_lowercase()), "{name}: no {line:?} in {head}");
    }
    if let Some(body) = case["body"].as_str() {
        let mut got = vec![0; body.len()];
        stream.read_exact(&mut got).await.expect("a body");
        let got = String::from_utf8(got).expect("text");
        match serde_json::from_str::<Value>(body) {
            Ok(status) => assert_eq!(serde_json::from_str::<Value>(&got).expect("JSON"), status, "{name}"),
            Err(_) => assert_eq!(got, body, "{name}"),
        }
        return;
    }

    let (mut from, mut to) = tokio::io::split(stream);
    let writer = async {
        if let Some(count) = case["stdin"].as_u64() {
            // What was sent when this was recorded, as the sum that came back tells.
            let letter = if name == "stdin closed by v5 signal" { b'x' } else { b'y' };
            let data = vec![letter; usize::try_from(count).expect("it fits")];
            for part in data.chunks(4096) {
                // A process may end before it has read all; what the server says then comes all the same.
                if send(&mut to, &[&[STDIN], part].concat()).await.is_err() {
                    return;
                }
            }
            // The lab differs in the second: containerd closes stdin when an output ends, but crun, which stands between
            // the lab and the process, holds the output open. So the client has to say that stdin ends.
            if ["stdin closed by v5 signal", "stdout closed early by the process, stdin still sent"].contains(&name) {
                send(&mut to, &[CLOSE_CHANNEL, STDIN]).await.expect("the end of stdin is sent");
            }
        }
    };
    let reader = async {
        let mut frames = vec![frame(&mut from).await];
        while frames.last().is_some_and(|last| last.opcode != CLOSE) {
            frames.push(frame(&mut from).await);
        }
        frames
    };
    let (frames, ()) = tokio::join!(reader, writer);
    compare(name, case, frames);
}

/// Frame by frame; of a large output, which a pipe cuts at will, the sum.
fn compare(name: &str, case: &Value, mut frames: Vec<Frame>) {
    let mut want = case["frames"].as_array().expect("frames").clone();
    if !case["then"].is_null() {
        let empty = frames.remove(0);
        let status = frames.len() - 2;
        let output: Vec<Frame> = frames.drain(..status).collect();
        for one in &output {
            assert_eq!((one.fin, one.opcode, one.data[0]), (true, BINARY, 1), "{name}");
            assert!(one.data.len() > 1 && one.data[1..].iter().all(|byte| *byte == 0), "{name}");
        }
        assert_eq!(output.iter().map(|one| one.data.len() - 1).sum::<usize>(), 200_000, "{name}");
        frames.insert(0, empty);
        let success = r#"{"metadata":{},"status":"Success"}"#;
        want.truncate(1);
        want.push(json!({ "opcode": BINARY, "fin": 1, "channel": STATUS, "length": success.len(), "data": success }));
        want.push(case["then"]["last"].clone());
    }
    if name == "command not found" {
        // The lab differs: crun says on the process's stderr as well what it then says in its log, and in this order,
        // so that the lab cannot tell it from a process's own words. A real kubelet says it in the status only.
        let said = frames.remove(1);
        assert!(said.data.starts_with(b"\x02executable file `/bin/nothing` not found"), "{name}: {said:?}");
    }
    let got: Vec<Value> = frames
        .iter()
        .map(|one| {
            let mut got = json!({ "opcode": one.opcode, "fin": u8::from(one.fin) });
            if one.opcode == CLOSE {
                got["data"] = one.data.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
                return got;
            }
            let (channel, data) = one.data.split_first().expect("a channel");
            got["channel"] = (*channel).into();
            // In what crun says of a program that is not there it differs from runc, so the length does too.
            got["length"] = if name == "command not found" && *channel == STATUS { 794 } else { data.len() }.into();
            let text = || String::from_utf8(data.to_vec()).expect("text");
            let text = if *channel == STATUS && !data.is_empty() { as_go_writes(data) } else { text() };
            got["data"] = recorded(&text).into();
            got
        })
        .collect();
    assert_eq!(got, want, "{name}");
}

#[tokio::test]
async fn exec_is_the_real_ones_frame_by_frame() {
    let lab = kubelet_support::start();
    let admin = Admin::new(&lab);
    let mut agent = pod("agent-cp1");
    agent["spec"]["volumes"] = json!([{ "name": "tmp", "hostPath": { "path": "/tmp", "type": "DirectoryOrCreate" } }]);
    agent["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "tmp", "mountPath": "/host/tmp" }]);
    admin.make(&agent).await.until(|event| event["object"]["status"]["phase"] == "Running").await;
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("../../../data/kubeadm/exec.json")).expect("the fixture is JSON");
    assert_eq!(cases.len(), 14);
    for case in &cases {
        replay(&admin, case).await;
    }
    let counted = std::fs::read_to_string(lab.node_root("cp1").join("tmp/wc")).expect("wc has run");
    assert_eq!(counted.trim(), "300000", "all of stdin arrives though stdout is closed");
    lab.stop().expect("the lab goes away");
}
