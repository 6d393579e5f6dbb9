//! `kubectl etcd version`.

use std::fmt::Write as _;
use std::time::Duration;

use etcd_wire::Preface;
use serde::Serialize;

use crate::context::Context;
use crate::discovery::{self, Overrides, Reach, Selector};
use crate::idle::Idle;
use crate::output::API_VERSION;
use crate::output::{Format, Outcome, print_data};
use crate::sidecar::DEFAULT_IMAGE;

const EXAMPLES: &str = "\
Examples:
  # Plugin, protocol and image; API server and the etcd of each member
  kubectl etcd version

  # The image to mirror into an air-gapped registry
  kubectl etcd version --client -o json";

/// The cluster's part is a courtesy: it must not make anyone wait.
const LIMIT: Duration = Duration::from_secs(5);

/// Show the versions of plugin, sidecar image, API server and etcd
///
/// The version of a member is that of its pod's image; `kubectl etcd status` asks the member itself.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Show only the plugin and its image; ask no cluster
    #[arg(long)]
    client: bool,
    /// Output format
    #[arg(short, long, value_parser = Format::without_wide(), default_value = "table", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    pods: Selector,
}

impl Args {
    /// The flags that have no effect.
    pub(crate) fn idle(&self) -> Vec<Idle> {
        const WHY: &str = "with --client no cluster is asked";
        if self.client { vec![Idle::connection(WHY), Idle::group::<Selector>(WHY)] } else { Vec::new() }
    }
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    let mut versions = Versions {
        api_version: API_VERSION,
        kind: "Version",
        client_version: format!("v{}", env!("CARGO_PKG_VERSION")),
        commit: option_env!("KUBECTL_ETCD_COMMIT"),
        build: etcd_build::ID,
        protocol: Preface::OURS.to_string(),
        sidecar_image: DEFAULT_IMAGE,
        server_version: None,
        etcd: Vec::new(),
    };
    if !args.client {
        match tokio::time::timeout(LIMIT, versions.ask(&args, &context)).await {
            Ok(Ok(())) => {}
            Ok(Err(failed)) => {
                context.printer.warn(format!("the cluster's versions are unknown: {}", failed.one_line()))
            }
            Err(_) => context.printer.warn(format!("the cluster did not answer within {}s", LIMIT.as_secs())),
        }
    }
    print_data(context.printer, args.output, &versions, || versions.text(args.client))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    api_version: &'static str,
    kind: &'static str,
    client_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'static str>,
    /// A restore needs sidecars of the same build.
    build: &'static str,
    protocol: String,
    sidecar_image: &'static str,
    server_version: Option<String>,
    etcd: Vec<MemberVersion>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberVersion {
    node: String,
    image: String,
    version: Option<String>,
}

impl Versions {
    async fn ask(&mut self, args: &Args, context: &Context) -> Outcome {
        let connection = context.connection.connect().await?;
        let info = connection.client.apiserver_version().await;
        let info = info.map_err(|error| {
            crate::output::Failed::plain("cannot ask the API server for its version").source(&error)
        })?;
        self.server_version = Some(info.git_version);
        let overrides = Overrides { reach: Reach { pods: args.pods.clone(), ..Reach::default() }, data_dir: None };
        let found = discovery::find(&connection, context.connection.etcd_namespace(), &overrides, None).await?;
        self.etcd = found
            .readable(context.printer)
            .into_iter()
            .map(|member| MemberVersion {
                version: member.image_version().map(str::to_owned),
                node: member.node,
                image: member.image,
            })
            .collect();
        Ok(())
    }

    fn text(&self, client: bool) -> String {
        let commit = self.commit.map(|commit| format!(" ({commit})")).unwrap_or_default();
        let mut text = format!("Client Version: {}{commit}\n", self.client_version);
        let _infallible = write!(text, "Build: {}\nProtocol: {}\n", self.build, self.protocol);
        let _infallible = writeln!(text, "Sidecar Image: {}", self.sidecar_image);
        if !client {
            let _infallible =
                writeln!(text, "Server Version: {}", self.server_version.as_deref().unwrap_or("<unknown>"));
            for member in &self.etcd {
                let version = member.version.as_deref().unwrap_or("<unknown>");
                let _infallible = writeln!(text, "etcd on {}: {version} ({})", member.node, member.image);
            }
        }
        text
    }
}
