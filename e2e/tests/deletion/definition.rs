//! The definition of a Nova kind is deleted: nobody has asked for the namespaces of its objects to go.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::quickstart;

use crate::place::{definition, namespace, sandbox};
use crate::{CONVERGES, Stage};

const SAYS: Duration = Duration::from_secs(15);

pub async fn a_definition_that_is_deleted_takes_no_namespace_along(stage: &Stage) -> Result<()> {
    const NAME: &str = "ddefined";
    let world = &stage.world;
    world.apply_until_accepted(&quickstart(NAME)?, CONVERGES).await?;
    world.ready(NAME, CONVERGES).await?;
    let place = namespace(&format!("tn-{NAME}-sandbox-dev"));
    let before = place.uid(world).await?;
    definition("novasandboxes.kubenova.io").delete(world).await?;
    let words = ["CustomResourceDefinition novasandboxes.kubenova.io", "nothing is taken down", "Fix: "];
    let told = sandbox(NAME).says(world, "DeletionBlocked", &words, SAYS).await?;
    println!("a definition deleted: {told}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = place.get(world).await?;
    let kept = after
        .is_some_and(|n| n.metadata.deletion_timestamp.is_none() && n.metadata.uid.as_ref() == Some(&before));
    ensure!(kept, "the namespace went with the definition");
    Ok(())
}
