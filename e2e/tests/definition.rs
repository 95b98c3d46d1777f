//! The definition of a Nova kind is deleted: nobody has asked for the namespaces of its objects to go. A control plane
//! of its own, for it is not the same afterwards.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::object::{Place, Says};
use e2e::{World, quickstart};
use nova_testkit::Options;

const PATIENCE: Duration = Duration::from_mins(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_is_deleted_takes_no_namespace_along() -> Result<()> {
    const NAME: &str = "ddefined";
    let world = World::start(Options { vela: false, ..Options::default() }).await?;
    let _operator = world.operator().await?;
    world.apply_until_accepted(&quickstart(NAME)?[..4], PATIENCE).await?;
    world.ready(NAME, PATIENCE).await?;
    let namespace = Place::new("Namespace", "", &format!("tn-{NAME}-sandbox-dev"));
    let before = namespace.uid(&world).await?;
    let definition = Place::new("CustomResourceDefinition", "", "novasandboxes.kubenova.io");
    definition.delete(&world).await?;
    let words = ["CustomResourceDefinition novasandboxes.kubenova.io", "nothing is taken down", "Fix: "];
    let says = Says { reason: "DeletionBlocked", words: &words, ..Says::default() };
    let sandbox = Place::new("NovaSandbox", &format!("tn-{NAME}"), "dev");
    let told = sandbox.says(&world, &says, PATIENCE).await?;
    println!("a definition deleted: {told}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = namespace.live(&world).await?.metadata;
    let kept = after.deletion_timestamp.is_none() && after.uid.as_ref() == Some(&before);
    ensure!(kept, "the namespace went with the definition");
    Ok(())
}
