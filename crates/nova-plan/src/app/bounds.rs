//! How much may stand in an app. Pure.

use nova_api::conditions::ConditionType;
use nova_api::v1alpha1::FreeForm;
use serde_json::Value;

use crate::problem::Problem;

/// Most values in an app, and how deep they may lie in each other. `KubeVela` needs a hundred times the memory of what
/// it renders, and readers of JSON give up at a depth of 128: without a bound one app would be everybody's trouble.
const MAX_VALUES: u64 = 5000;
const MAX_DEPTH: usize = 50;
/// Most items of all lists together that definitions of `KubeVela`'s are told. Its own compare each volume with every
/// other, of whatever list: 100 of them cost it 1.3 s of CPU for one rollout, 800 cost 30 s, it works for four apps of the
/// cluster at a time, and it renders an app that is not healthy again and again.
const MAX_ITEMS: u32 = 128;
/// Most bytes of the free forms of an app together. A manifest has a bound of its own.
const MAX_BYTES: usize = 128 * 1024;

/// How many values there are, and how deep they lie in each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    values: u64,
    depth: usize,
}

impl Extent {
    pub(super) fn new(values: u32, depth: u16) -> Self {
        Self { values: values.into(), depth: depth.into() }
    }

    /// Extent of what is kept as text, which was counted when it was read.
    pub(super) fn of_form(form: &FreeForm) -> Self {
        Self::new(form.values(), form.depth())
    }

    /// Extent of a tree, its root included.
    pub(super) fn of_value(value: &Value) -> Self {
        let leaf = Self { values: 1, depth: 1 };
        let inside = |parts: &mut dyn Iterator<Item = &Value>| {
            parts.map(Self::of_value).map(|part| Self { depth: part.depth + 1, ..part }).fold(leaf, Self::and)
        };
        match value {
            Value::Array(items) => inside(&mut items.iter()),
            Value::Object(fields) => inside(&mut fields.values()),
            _ => leaf,
        }
    }

    /// Extent of both, side by side.
    pub(super) fn and(self, other: Self) -> Self {
        Self { values: self.values.saturating_add(other.values), depth: self.depth.max(other.depth) }
    }

    /// Refuses what is too much for an app.
    pub(super) fn check(self, me: &str) -> Result<(), Problem> {
        let Self { values, depth } = self;
        if depth > MAX_DEPTH {
            let what = format!("spec.source and spec.traits are nested deeper than {MAX_DEPTH} levels");
            return Err(refused(me, what, "make it flatter"));
        }
        if values > MAX_VALUES {
            let what = format!(
                "spec.source and spec.traits hold {values} values, and at most {MAX_VALUES} are taken"
            );
            return Err(refused(me, what, "divide it into several apps"));
        }
        Ok(())
    }
}

/// Refuses forms that `KubeVela` would work on for too long, or that are too long to be worked on here.
pub(super) fn check_forms<'a>(me: &str, forms: impl Iterator<Item = &'a FreeForm>) -> Result<(), Problem> {
    let (items, bytes) = forms.fold((0_u32, 0), |(items, bytes), form| {
        (items.saturating_add(form.items()), bytes + form.text().len())
    });
    if items > MAX_ITEMS {
        let what = format!(
            "the lists in spec.source and in the properties of spec.traits hold {items} items together, and at most \
             {MAX_ITEMS} are taken, because KubeVela compares the items of lists with each other"
        );
        return Err(refused(me, what, "shorten the lists, or divide it into several apps"));
    }
    if bytes > MAX_BYTES {
        let what = format!(
            "the parameters in spec.source and the properties of spec.traits have {} KiB together, and at most {} are \
             taken",
            bytes / 1024,
            MAX_BYTES / 1024
        );
        return Err(refused(me, what, "keep what is large in a ConfigMap or an image"));
    }
    Ok(())
}

fn refused(me: &str, what: String, fix: &str) -> Problem {
    Problem::invalid(ConditionType::DependenciesMet, me, what).fix(fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn form(value: Value) -> FreeForm {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn text_and_tree_have_the_same_extent() {
        for value in [json!({}), json!({"a": []}), json!({"a": [1, {"b": null}], "c": {"d": {"e": "f"}}})] {
            assert_eq!(Extent::of_form(&form(value.clone())), Extent::of_value(&value), "{value}");
        }
    }

    #[test]
    fn an_app_at_its_bounds_is_taken_and_one_beyond_is_not() {
        let values = |n: usize| Extent::of_value(&json!(vec![0; n - 1])).check("NovaApp n/a");
        assert!(values(5000).is_ok());
        let refused = values(5001).unwrap_err();
        assert!(refused.message.ends_with("hold 5001 values, and at most 5000 are taken"), "{refused:?}");
        let depth = |n: usize| (1..n).fold(json!(0), |inner, _| json!([inner]));
        assert!(Extent::of_value(&depth(50)).check("NovaApp n/a").is_ok());
        let refused = Extent::of_value(&depth(51)).check("NovaApp n/a").unwrap_err();
        assert!(refused.message.ends_with("are nested deeper than 50 levels"), "{refused:?}");
    }

    #[test]
    fn what_stands_side_by_side_is_counted_together() {
        let part = Extent::of_value(&json!(vec![0; 2499]));
        assert!(part.and(part).check("NovaApp n/a").is_ok());
        assert!(part.and(part).and(Extent::of_value(&json!({}))).check("NovaApp n/a").is_err());
    }

    #[test]
    fn lists_are_counted_together() {
        let forms = |lengths: &[usize]| {
            let forms: Vec<FreeForm> = lengths
                .iter()
                .map(|n| form(json!({"a": {"b": vec![0; n / 2]}, "c": vec![0; n - n / 2]})))
                .collect();
            check_forms("NovaApp n/a", forms.iter())
        };
        assert!(forms(&[128]).is_ok());
        assert!(forms(&[64, 64]).is_ok());
        for beyond in [&[129][..], &[64, 65]] {
            let refused = forms(beyond).unwrap_err();
            assert!(refused.message.contains("hold 129 items together, and at most 128"), "{refused:?}");
            assert!(refused.fix.contains("shorten the lists"), "{refused:?}");
        }
    }

    #[test]
    fn long_texts_are_counted_together() {
        let long = |bytes: usize| form(json!({"a": "x".repeat(bytes)}));
        let check = |forms: &[FreeForm]| check_forms("NovaApp n/a", forms.iter());
        assert!(check(&[long(60_000), long(60_000)]).is_ok());
        let refused = check(&[long(70_000), long(70_000)]).unwrap_err();
        assert!(refused.message.contains("have 136 KiB together, and at most 128"), "{refused:?}");
    }
}
