//! Whether sidecars are of the same build as this plugin. Versions do not tell: an image that was built from other sources may have
//! the same tag, and nodes may have different images under one tag.

use etcd_wire::Hello;

use super::spec::DEFAULT_IMAGE;
use crate::output::{Exit, Failed, Outcome};

/// Refuses to change anything with sidecars of other builds, each given with its node.
///
/// # Errors
/// Exit 4, with the builds and their nodes.
pub(crate) fn same<'a>(sidecars: impl IntoIterator<Item = (&'a str, &'a Hello)>) -> Outcome {
    let others: Vec<String> = sidecars
        .into_iter()
        .filter(|(_, hello)| hello.build.as_deref() != Some(etcd_build::ID))
        .map(|(node, hello)| {
            let build =
                hello.build.as_deref().map_or("of an unknown build".to_owned(), |build| format!("build {build}"));
            format!("the sidecar on node {node} is version {}, {build}", hello.version)
        })
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    let ours = format!("this plugin is version {}, build {}", env!("CARGO_PKG_VERSION"), etcd_build::ID);
    Err(Failed::new(Exit::Refused, "the plugin and the sidecar are different builds")
        .cause(ours)
        .causes(others)
        .hint(format!(
            "use the image that was built from the same sources as this plugin, on every node\n  --image {DEFAULT_IMAGE}\n  \
             kubectl etcd version --client"
        )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_of_other_builds_are_told_with_their_nodes() {
        let own = Hello::ours().of_build(etcd_build::ID);
        let (other, unknown) = (Hello::ours().of_build("0123456789abcdef"), Hello::ours());
        assert!(same([("cp1", &own), ("cp2", &own)]).is_ok());
        let failed = same([("cp1", &own), ("cp2", &other), ("cp3", &unknown)]).expect_err("two are others");
        assert!(failed.exit == Exit::Refused && failed.causes.len() == 3, "{failed}");
        assert!(failed.causes[0].ends_with(etcd_build::ID), "{failed}");
        assert!(failed.causes[1].contains("cp2") && failed.causes[1].ends_with("build 0123456789abcdef"), "{failed}");
        assert!(failed.causes[2].contains("cp3") && failed.causes[2].ends_with("unknown build"), "{failed}");
    }
}
