//! The question before a cluster is changed as a whole: its name has to be typed.

use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Outcome, Printer, ResultExt};

/// What is known before anything is asked.
#[derive(Debug)]
pub(crate) enum Consent {
    /// The flag names this cluster.
    Given,
    /// The name has to be typed.
    Wanted,
}

/// What the flag says, before anything else is done.
///
/// # Errors
/// Exit 4: the flag names another cluster, or there is neither a flag nor a terminal to ask on.
pub(crate) fn consent(flag: Option<&str>, cluster: &str, interactive: bool) -> Outcome<Consent> {
    match flag {
        Some(name) if name == cluster => Ok(Consent::Given),
        Some(name) => Err(refused(format!("--confirm names cluster {name}, and this is cluster {cluster}"))
            .hint("see which cluster the kubeconfig leads to\n  kubectl config current-context")),
        None if interactive => Ok(Consent::Wanted),
        None => Err(refused("nobody has confirmed it: there is no terminal to ask on".to_owned()).hint(format!(
            "read what it does with --dry-run=client, and then name the cluster\n  --confirm {}",
            quoted(cluster)
        ))),
    }
}

/// Asks, if that is still wanted.
///
/// # Errors
/// Exit 4: what is typed is not the cluster's name.
pub(crate) async fn confirm(consent: Consent, cluster: &str, printer: Printer) -> Outcome {
    if let Consent::Given = consent {
        return Ok(());
    }
    let question = format!("Type the name of the cluster ({cluster}) to go on: ");
    let typed = tokio::task::spawn_blocking(move || printer.ask(&question)).await;
    let typed = typed.or_fail(|| "ask for the cluster's name".to_owned())?;
    if typed == cluster { Ok(()) } else { Err(refused("the name of the cluster was not typed".to_owned())) }
}

fn refused(why: String) -> Failed {
    Failed::new(Exit::Refused, why).cause("nothing was changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_clusters_own_name_is_consent() {
        for interactive in [true, false] {
            assert!(matches!(consent(Some("prod"), "prod", interactive), Ok(Consent::Given)));
            for wrong in ["", "Prod", "prod ", "yes"] {
                let failed = consent(Some(wrong), "prod", interactive).expect_err(wrong);
                assert_eq!(failed.exit, Exit::Refused);
            }
        }
        assert!(matches!(consent(None, "prod", true), Ok(Consent::Wanted)));
        let nobody = consent(None, "my cluster", false).expect_err("nobody");
        assert!(nobody.exit == Exit::Refused && nobody.hints[0].ends_with("--confirm 'my cluster'"), "{nobody}");
        assert!(nobody.causes.contains(&"nothing was changed".to_owned()));
    }
}
