//! The load balancer in front of the API servers: the first that takes a connection, in the order of the nodes.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};

/// How long a server may take to answer a connection: a node whose link is down answers nothing at all.
const PATIENCE: Duration = Duration::from_secs(1);

/// The balancer's command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Addresses of the nodes.
    #[arg(long, value_delimiter = ',', required = true)]
    nodes: Vec<Ipv4Addr>,
}

/// Serves until it is killed.
pub(crate) async fn run(args: Args) -> Result<()> {
    let listener = TcpListener::bind(args.listen).await?;
    loop {
        let (mut client, _) = listener.accept().await?;
        let nodes = args.nodes.clone();
        tokio::spawn(async move {
            for node in nodes {
                let Ok(Ok(mut server)) = tokio::time::timeout(PATIENCE, TcpStream::connect((node, 6443))).await else {
                    continue;
                };
                let copied = async {
                    client.set_nodelay(true)?;
                    server.set_nodelay(true)?;
                    tokio::io::copy_bidirectional_with_sizes(&mut client, &mut server, 64 * 1024, 64 * 1024).await
                };
                if let Err(error) = copied.await {
                    tracing::debug!("a connection ended: {error}");
                }
                return;
            }
        });
    }
}
