//! Names that would collide, and groups that two tenants want.

use anyhow::{Result, bail, ensure};
use e2e::object::{self, Place, Says, kind};
use kube::api::PostParams;
use serde_json::json;

use crate::{PATIENCE, STAGE};

/// Names and a part of the message that tells their rule.
const REFUSED: [(&str, &str); 13] = [
    ("a-app-b", "'a-app-b' is not"),
    ("app", "between hyphens is 'app', 'sandbox' or 'db'"),
    ("x-db", "between hyphens is 'app', 'sandbox' or 'db'"),
    ("sandbox-1", "between hyphens is 'app', 'sandbox' or 'db'"),
    ("a-sandbox", "between hyphens is 'app', 'sandbox' or 'db'"),
    ("kube", "are reserved; choose another name"),
    ("system", "are reserved; choose another name"),
    ("default", "are reserved; choose another name"),
    ("capsule", "are reserved; choose another name"),
    ("vela", "are reserved; choose another name"),
    ("kubenova", "are reserved; choose another name"),
    ("a--b", "has no '--'"),
    ("twenty-six-letters-in-all-x", "at most 25 characters"),
];

#[tokio::test(flavor = "multi_thread")]
async fn names_that_would_collide_are_refused() -> Result<()> {
    let world = STAGE.together().await?;
    let tenants = kind("NovaTenant").every(&world.admin);
    for (name, rule) in REFUSED {
        let body = object::tenant(name, &json!({}));
        match tenants.create(&PostParams::default(), &serde_json::from_str(&body)?).await {
            Err(kube::Error::Api(status)) if status.message.contains(rule) => {
                println!("| tenant `{name}` | {} |", status.message);
            }
            Err(error) => bail!("{name} is refused without its rule {rule:?}: {error}"),
            Ok(_) => bail!("{name} is taken"),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_developer_group_belongs_to_one_tenant() -> Result<()> {
    let world = STAGE.together().await?;
    let tenant = |name: &str, group: &str| object::tenant(name, &json!({"devGroup": group}));
    world.apply_once(&tenant("elder", "the-people")).await?;
    world.ready("elder", PATIENCE).await?;
    // Times of creation are whole seconds; equal ones are told apart by name.
    world.apply_once(&tenant("younger", "the-people")).await?;
    // The default of a name counts like a group that was written down.
    world.apply_once(&tenant("thief", "elder-devs")).await?;
    let younger = Place::new("NovaTenant", "", "younger");
    let says = Says { reason: "Conflict", code: "KN-409", ..Says::default() };
    let told = younger.says(&world, &says, PATIENCE).await?;
    println!("| devGroup of another tenant | {told} |");
    let home = Place::new("Namespace", "", "tn-younger");
    ensure!(home.get(&world).await?.is_none(), "a refused tenant got a namespace");
    world.ready("elder", PATIENCE).await?;
    world.ready("thief", PATIENCE).await?;

    Place::new("NovaTenant", "", "elder").delete(&world).await?;
    younger.ready(&world, PATIENCE).await?;
    println!("| … the elder deleted | the younger is Ready |");
    Ok(())
}
