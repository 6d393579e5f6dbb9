//! Images that are not what the plugin expects, made on the spot: a shell script in the sidecar's place.

use lab::Lab;
use serde_json::json;

/// Where Debian's busybox-static is: one file, which needs nothing of its image.
const BUSYBOX: &str = "/usr/bin/busybox";

/// Gives the lab an image whose `/etcd-sidecar` waits as the sidecar does, and on anything else runs `serve`, in sh.
pub(crate) fn impostor(lab: &Lab, reference: &str, serve: &str) {
    let script = format!(
        "#!/busybox sh\nif [ \"$1\" = wait ]; then\n  trap 'exit 0' TERM\n  /busybox sleep 3600 &\n  wait\nfi\n{serve}\n"
    );
    let busybox = std::fs::read(BUSYBOX).expect("busybox-static is installed");
    let files = [("etcd-sidecar", script.as_bytes()), ("busybox", busybox.as_slice())];
    let image = lab::docker_archive(reference, &json!({"Entrypoint": ["/etcd-sidecar"]}), &files).expect("an image");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("image.tar");
    std::fs::write(&path, image).expect("the image is written");
    assert_eq!(lab.load_image(&path).expect("the image is loaded"), [reference]);
}
