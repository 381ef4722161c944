//! Small constitutions and packs for tests of the engine.

use crate::constitution::{Constitution, Defaults, Principle, Severity, Status};

/// An active principle of weight 1.
pub fn principle(id: &str) -> Principle {
    Principle {
        id: id.to_owned(),
        title: id.to_owned(),
        critique: format!("Does the response do what {id} asks?"),
        revision: format!("Make the response do what {id} asks."),
        weight: 1.0,
        precedence: 10,
        severity: Severity::Major,
        tags: Vec::new(),
        status: Status::Active,
        rationale: String::new(),
        check: None,
        examples: Vec::new(),
        tests: Vec::new(),
    }
}

/// A constitution of such principles.
pub fn constitution(ids: &[&str]) -> Constitution {
    Constitution {
        schema: 1,
        name: "test".to_owned(),
        version: "1.0.0".to_owned(),
        description: String::new(),
        license: String::new(),
        defaults: Defaults::default(),
        principles: ids.iter().map(|id| principle(id)).collect(),
    }
}
