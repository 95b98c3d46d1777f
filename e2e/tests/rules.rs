//! Every validation rule once more, on the API server itself: the same cases as in `crates/nova-api/tests/rules`.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use e2e::object::kind;
use e2e::{World, root};
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

/// Field manager of the cases; applying again as the same manager takes fields away that are left out.
const MANAGER: &str = "cases";

fn cases() -> Result<Vec<Value>> {
    let folder = root().join("crates/nova-api/tests/rules");
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        let file: Vec<Value> = serde_yaml::from_str(&std::fs::read_to_string(&path)?)
            .with_context(|| format!("read {}", path.display()))?;
        cases.extend(file);
    }
    Ok(cases)
}

fn api(admin: &Client, object: &Value) -> Result<Api<DynamicObject>> {
    let of = object["kind"].as_str().context("a case without a kind")?;
    Ok(kind(of).within(admin, object["metadata"]["namespace"].as_str().unwrap_or_default()))
}

fn whole(object: &Value) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = json!("kubenova.io/v1alpha1");
    object
}

/// What the API server says to a case; nothing is stored.
async fn answer(admin: &Client, case: &Value) -> Result<Result<(), kube::core::Status>> {
    let api = api(admin, &case["object"])?;
    let object = whole(&case["object"]);
    let name = object["metadata"]["name"].as_str().context("a case without a name")?.to_owned();
    let asked = if case["was"].is_null() {
        let params = PostParams { dry_run: true, ..PostParams::default() };
        api.create(&params, &serde_json::from_value(object)?).await.map(drop)
    } else {
        let was = whole(&case["was"]);
        api.patch(&name, &PatchParams::apply(MANAGER), &Patch::Apply(&was)).await.context("what it was")?;
        let params = PatchParams { dry_run: true, ..PatchParams::apply(MANAGER).force() };
        let asked = api.patch(&name, &params, &Patch::Apply(&object)).await.map(drop);
        api.delete(&name, &DeleteParams::default()).await?;
        asked
    };
    match asked {
        Ok(()) => Ok(Ok(())),
        Err(kube::Error::Api(status)) => Ok(Err(*status)),
        Err(error) => bail!(error),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_and_refuses_what_the_cases_say() -> Result<()> {
    let world = World::of_rules(&["tn-acme", "tn-acme-app-shop"]).await?;
    let start = Instant::now();
    let (mut taken, mut refused, mut wrong) = (0, 0, Vec::new());
    for case in cases()? {
        let title = format!("{}: {}", case["object"]["kind"], case["case"]);
        let parts: Vec<&str> =
            case["refused"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        match answer(&world.admin, &case).await.with_context(|| title.clone())? {
            Ok(()) if parts.is_empty() => taken += 1,
            Ok(()) => wrong.push(format!("{title}: taken, should be refused with {parts:?}")),
            Err(status) if parts.is_empty() => wrong.push(format!("{title}: refused: {}", status.message)),
            Err(status) => {
                let missing: Vec<_> = parts.iter().filter(|part| !status.message.contains(**part)).collect();
                if status.code == 422 && missing.is_empty() {
                    refused += 1;
                } else {
                    wrong.push(format!("{title}: {} {} lacks {missing:?}", status.code, status.message));
                }
            }
        }
    }
    println!("{taken} cases taken and {refused} refused by the API server in {:.1?}", start.elapsed());
    assert!(taken > 20 && refused > 60, "only {taken} and {refused} cases");
    assert!(wrong.is_empty(), "{} cases went otherwise:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
