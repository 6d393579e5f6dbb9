//! The road between node and workstation breaks: wherever that is, a backup is whole or there is none.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use e2e::trouble::{UNCHANGED, cut, fill, mend, processes, signal, size};
use e2e::{Ran, Running, Scene, etcdutl, names, run, until, vendor};
use lab::Etcd;
use serde_json::json;

const KEPT: &str = "/var/lib/etcd-backups";

/// Takes a file away after it has proved to be whole.
fn take_whole(scene: &Scene, name: &str) -> Vec<u8> {
    let path = scene.path(name);
    let report = scene.ok(&["verify", name, "-o", "json"]).json();
    let theirs = vendor(etcdutl(), &["snapshot", "status", path.to_str().unwrap(), "-w", "json"]);
    for figure in ["hash", "revision", "totalKey", "totalSize"] {
        assert_eq!(report[figure], theirs[figure], "{figure}");
    }
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(scene.path(&format!("{name}.json"))).unwrap();
    std::fs::remove_file(path).unwrap();
    bytes
}

/// A backup over roads that all break there. A whole one has gone again.
fn broken(scene: &Scene, after: u64, mode: &str) -> Option<Ran> {
    cut(scene, after, mode);
    let ran = run(scene.plugin(&["backup", "a.db", "--compress", "none"]));
    mend(scene);
    if ran.status.success() {
        take_whole(scene, "a.db");
        scene.assert_nothing_left();
        return None;
    }
    let ran = ran.expect_code(1).expect_error(&["error: ", UNCHANGED]);
    scene.assert_nothing_left();
    Some(ran)
}

const MODES: [&str; 2] = ["clean", "reset"];

#[test]
fn a_stream_that_is_cut_anywhere_leaves_nothing() {
    let scene = Scene::new(1, Etcd::V3_5);
    fill(&scene.lab, 2);
    scene.ok(&["backup", "a.db"]);
    let length = take_whole(&scene, "a.db").len() as u64;
    // While the member is asked: within the preface, the greeting and the reply.
    for (n, after) in [0, 1, 16, 40, 200, 700].into_iter().enumerate() {
        let ran = broken(&scene, after, MODES[n % 2]).expect("nothing comes to its end so early");
        ran.expect_error(&["no member can be snapshotted", "cp1 on node cp1"]);
    }
    // In the data. Each is tried three times.
    for (n, part) in [1, 2, 5, 8, 11, 15].into_iter().enumerate() {
        let ran = broken(&scene, length * part / 16, MODES[n % 2]).expect("the data is longer");
        ran.expect_error(&["receive the snapshot", "retry 2 of 2"]);
    }
    // The shortest road that is long enough: what fails beside it breaks within the end frame. The sidecar's last word
    // is not needed: the file is verified before.
    let (mut fails, mut suffices) = (length, length + length / 16 + 4096);
    let mut n = 0;
    while suffices - fails > 1 {
        let middle = fails + (suffices - fails) / 2;
        match broken(&scene, middle, MODES[n % 2]) {
            Some(_) => fails = middle,
            None => suffices = middle,
        }
        n += 1;
    }
    // Around it: within the end frame and the last chunk. How many frames the road makes of the same bytes differs from
    // run to run, so a few bytes less may suffice once; whole or nothing holds all the same.
    for (n, before) in [20, 90, 130, 170, 400].into_iter().enumerate() {
        broken(&scene, fails - before, MODES[n % 2]);
    }
}

#[test]
fn a_road_that_breaks_once_is_taken_again() {
    let scene = Scene::new(1, Etcd::V3_5);
    fill(&scene.lab, 2);
    for mode in MODES {
        // The first stream is that of the survey, which is too short for this to strike.
        let fault = json!({"exec": {"cutAfter": 1_500_000, "mode": mode, "times": 2}});
        scene.lab.set_faults(&fault).unwrap();
        let ran = scene.ok(&["backup", "a.db", "--compress", "none"]);
        ran.expect_error(&["Warning: cannot receive the snapshot", "starting over (retry 1 of 2)"]);
        take_whole(&scene, "a.db");
        scene.assert_nothing_left();
    }
    // What has gone into a pipe cannot be called back.
    scene.lab.set_faults(&json!({"exec": {"cutAfter": 1_500_000, "mode": "clean", "times": 2}})).unwrap();
    let ran = run(scene.plugin(&["backup", "-", "--compress", "none"])).expect_code(1);
    ran.expect_error(&["receive the snapshot", UNCHANGED]);
    scene.assert_nothing_left();
}

#[test]
fn a_copy_on_the_node_exists_only_once_the_transfer_is_whole() {
    let mut scene = Scene::new(1, Etcd::V3_5);
    fill(&scene.lab, 1);
    let folder = scene.lab.node_root("cp1").join(KEPT.trim_start_matches('/'));
    std::fs::create_dir_all(&folder).unwrap();
    scene.accept_nodes();
    let length = {
        scene.ok(&["backup", "a.db", "--on-node", KEPT]);
        let listed = scene.ok(&["list", "--on-node", KEPT, "-o", "json"]).json();
        let copy = &listed["items"][0];
        assert_eq!((&copy["name"], &copy["state"]), (&format!("cp1:{KEPT}/a.db").into(), &"yes".into()), "{listed}");
        assert!(copy["revision"].as_i64() > Some(1) && copy["cluster"].is_string(), "{listed}");
        whole_here_and_there(&scene, &folder)
    };
    let mut lost_word = false;
    let (mut fails, mut suffices) = (length / 2, length + length / 16 + 4096);
    while suffices - fails > 1 {
        let after = if fails == length / 2 { length } else { fails + (suffices - fails) / 2 };
        cut(&scene, after, "clean");
        let ran = run(scene.plugin(&["backup", "a.db", "--compress", "none", "--on-node", KEPT]));
        mend(&scene);
        match ran.status.code() {
            Some(0) => {
                suffices = after;
                whole_here_and_there(&scene, &folder);
            }
            // The sidecar's last word was lost: the copy has its name, and the message says where.
            Some(5) => {
                fails = after;
                lost_word = true;
                ran.expect_error(&["finish with the sidecar", "may have kept /var/lib/etcd-backups/a.db", "hint: "]);
                whole_there(&scene, &folder);
            }
            _ => {
                fails = after;
                ran.expect_code(1).expect_error(&[UNCHANGED]);
            }
        }
        // Nothing without a name, nothing half.
        assert!(names(&folder).is_empty(), "{:?}", names(&folder));
        scene.assert_nothing_left();
    }
    assert!(lost_word, "the road was never cut in the sidecar's last word");
}

/// The copy on the node is the file here, and private. Takes both away.
fn whole_here_and_there(scene: &Scene, folder: &Path) -> u64 {
    let there = folder.join("a.db");
    assert_eq!(there.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = std::fs::read(&there).unwrap();
    assert!(bytes == take_whole(scene, "a.db"), "the copy on the node differs");
    std::fs::remove_file(there).unwrap();
    bytes.len() as u64
}

/// The copy on the node is whole. Takes it away; none is as good.
fn whole_there(scene: &Scene, folder: &Path) {
    let there = folder.join("a.db");
    if there.exists() {
        scene.ok(&["verify", there.to_str().unwrap()]);
        std::fs::remove_file(there).unwrap();
    }
}

/// A backup that was stopped where it stands, with the transfer far from its end: the buffers on the way do not hold
/// what is to come.
fn halted(scene: &Scene) -> Running {
    let running = Running::start(scene.plugin(&["backup", "a.db", "--compress", "none"]));
    let part = scene.path("a.db.part");
    while size(&part) == 0 {
        std::thread::sleep(Duration::from_millis(1));
        assert!(!scene.path("a.db").exists(), "the transfer was too fast");
    }
    running.signal("STOP");
    running
}

#[test]
fn a_sidecar_that_is_killed_in_the_middle_leaves_nothing() {
    let scene = Scene::new(1, Etcd::V3_5);
    fill(&scene.lab, 48);

    // The container, and with it the session.
    let running = halted(&scene);
    scene.lab.kill_container("cp1", &scene.sidecars()[0]).unwrap();
    running.signal("CONT");
    let (status, said) = running.end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("starting over") && said.contains(UNCHANGED), "{said}");
    scene.assert_nothing_left();

    // The pod, by somebody else.
    let running = halted(&scene);
    let pod = &scene.sidecars()[0];
    run(scene.kubectl(&["delete", "pod", "-n", "kube-system", pod, "--force", "--grace-period=0"])).expect_code(0);
    until("the pod's processes are gone", || processes(&scene.lab, "cp1", &["/etcd-sidecar", "serve"]).is_empty());
    running.signal("CONT");
    let (status, said) = running.end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(UNCHANGED), "{said}");
    scene.assert_nothing_left();

    // Only the session: another one can be had in the same pod.
    let running = halted(&scene);
    for pid in processes(&scene.lab, "cp1", &["/etcd-sidecar", "serve"]) {
        signal(pid, "KILL");
    }
    running.signal("CONT");
    let (status, said) = running.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("starting over (retry 1 of 2)"), "{said}");
    take_whole(&scene, "a.db");
    scene.assert_nothing_left();

    // With nobody to begin anew for.
    let mut command = scene.plugin(&["backup", "-", "--compress", "none"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut stdout, &mut [0; 4096]).unwrap();
    scene.lab.kill_container("cp1", &scene.sidecars()[0]).unwrap();
    std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("receive the snapshot") && said.contains(UNCHANGED), "{said}");
    scene.assert_nothing_left();
}
