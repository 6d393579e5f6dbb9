//! Images that are not what the plugin expects, made on the spot: a shell script in the sidecar's place.

use std::path::Path;

use lab::Lab;

/// Where Debian's busybox-static is: one file, which needs nothing of its image.
const BUSYBOX: &str = "/usr/bin/busybox";

/// Gives the lab an image whose `/etcd-sidecar` waits as the sidecar does, and on anything else runs `serve`, in sh.
pub(crate) fn impostor(lab: &Lab, reference: &str, serve: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let layer = folder.path().join("layer.tar");
    let script = format!(
        "#!/busybox sh\nif [ \"$1\" = wait ]; then\n  trap 'exit 0' TERM\n  /busybox sleep 3600 &\n  wait\nfi\n{serve}\n"
    );
    let busybox = std::fs::read(BUSYBOX).expect("busybox-static is installed");
    archive(&layer, &[("etcd-sidecar", script.as_bytes()), ("busybox", &busybox)]);
    let image = folder.path().join("image.tar");
    let manifest = format!(r#"[{{"Config":"config.json","RepoTags":["{reference}"],"Layers":["layer.tar"]}}]"#);
    let config = r#"{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/etcd-sidecar"]}}"#;
    let layer = std::fs::read(&layer).expect("the layer");
    archive(
        &image,
        &[("manifest.json", manifest.as_bytes()), ("config.json", config.as_bytes()), ("layer.tar", &layer)],
    );
    assert_eq!(lab.load_image(&image).expect("the image is loaded"), [reference]);
}

fn archive(path: &Path, files: &[(&str, &[u8])]) {
    let mut archive = tar::Builder::new(std::fs::File::create(path).expect("an archive"));
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        archive.append_data(&mut header, name, *content).expect("a file of the archive");
    }
    archive.finish().expect("the archive's end");
}
