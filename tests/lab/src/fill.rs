//! Fills a lab's etcd with objects of the shape of Kubernetes', for benchmarks and for trying things out at size.

use anyhow::{Context, Result, bail};
use etcd_client::{Certificate, Client, ConnectOptions, Identity, PutOptions, TlsOptions, Txn, TxnOp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::lab::Lab;

/// Objects in a transaction; etcd takes 128 operations and 1.5 MiB in one.
const BATCH: usize = 100;
/// Everything is made from this seed: two fills of one size are the same.
const SEED: u64 = 20_261_121;

impl Lab {
    /// Puts about `bytes` of Pods and Secrets into etcd, past the API server, below `/registry/pods/filled/` and
    /// `/registry/secrets/filled/`. Returns how many objects there are.
    ///
    /// # Errors
    /// When etcd cannot be reached or takes no more.
    pub async fn fill(&self, bytes: u64) -> Result<u64> {
        let mut client = self.etcd_client().await?;
        let mut random = StdRng::seed_from_u64(SEED);
        let (mut put, mut number) = (0, 0);
        while put < bytes {
            let mut operations = Vec::with_capacity(BATCH);
            for _ in 0..BATCH {
                let (key, value) = object(&mut random, number);
                put += (key.len() + value.len()) as u64;
                number += 1;
                operations.push(TxnOp::put(key, value, None::<PutOptions>));
            }
            client.txn(Txn::new().and_then(operations)).await?;
        }
        Ok(number)
    }

    /// [Fills](Lab::fill) etcd up to its [quota](crate::Options::etcd_quota), so that it has an alarm and refuses every
    /// write. Reads and deletions go on.
    ///
    /// # Errors
    /// When etcd cannot be reached, or its quota is not reached by 50 MB.
    pub async fn exhaust(&self) -> Result<()> {
        match self.fill(50_000_000).await {
            Ok(_) => bail!("etcd takes more than 50 MB: start the lab with a quota for etcd"),
            Err(error) if format!("{error:#}").contains("database space exceeded") => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn etcd_client(&self) -> Result<Client> {
        let pki = self.node_root("cp1").join("etc/kubernetes/pki/etcd");
        let read = |name: &str| fs_err::read(pki.join(name));
        let tls = TlsOptions::new()
            .ca_certificate(Certificate::from_pem(read("ca.crt")?))
            .identity(Identity::from_pem(read("healthcheck-client.crt")?, read("healthcheck-client.key")?));
        let url = format!("https://{}:2379", self.node_ip("cp1"));
        Client::connect([url], Some(ConnectOptions::new().with_tls(tls))).await.context("reach etcd on cp1")
    }
}

/// A key and an object: mostly Pods of a few kilobytes, some Secrets of random bytes.
fn object(random: &mut StdRng, number: u64) -> (String, Vec<u8>) {
    let hex = |random: &mut StdRng, length: usize| -> String {
        (0..length).map(|_| char::from_digit(random.random_range(0..16), 16).unwrap_or('0')).collect()
    };
    let uid = hex(random, 32);
    let metadata = |name: &str, uid: &str| {
        json!({"name": name, "namespace": "filled", "uid": uid, "creationTimestamp": "2026-11-21T06:16:40Z",
               "labels": {"app": format!("app-{}", number % 97), "pod-template-hash": &uid[..10]}})
    };
    if number.is_multiple_of(8) {
        let data: String = hex(random, 2000);
        let name = format!("secret-{number}");
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata(&name, &uid), "data": {"token": data}});
        return (format!("/registry/secrets/filled/{name}"), secret.to_string().into_bytes());
    }
    let containers: Vec<_> = (0..random.random_range(1..4))
        .map(|index| {
            let image = format!("registry.example/team-{}/service-{}@sha256:{}", number % 13, number % 97, hex(random, 64));
            json!({"name": format!("container-{index}"), "image": image, "imagePullPolicy": "IfNotPresent",
                   "env": (0..6).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": hex(random, 12)})).collect::<Vec<_>>(),
                   "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                   "volumeMounts": [{"name": "data", "mountPath": "/var/lib/data"}, {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}],
                   "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"})
        })
        .collect();
    let condition = |kind| json!({"type": kind, "status": "True", "lastTransitionTime": "2026-11-21T06:16:41Z"});
    let conditions = ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map(condition);
    let name = format!("app-{}-{}", number % 97, &uid[..10]);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata(&name, &uid),
        "spec": {"containers": containers, "nodeName": format!("worker-{}", number % 31), "restartPolicy": "Always",
                 "serviceAccountName": format!("account-{}", number % 29), "tolerations": [{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]},
        "status": {"phase": "Running", "podIP": format!("10.{}.{}.{}", number % 200, number / 200 % 200, number % 250),
                   "conditions": conditions}});
    (format!("/registry/pods/filled/{name}"), pod.to_string().into_bytes())
}
