//! Modules as one script: a page that is opened from disk cannot load modules, and its policy names one
//! script by its digest.
//!
//! Only what the pages' own modules use is known: `import { a, b as c } from "./x.js";`,
//! `import * as x from "./x.js";`, and `export` before a declaration. A test holds them against it.

use std::fmt::Write;

/// A script of which the given module is the beginning. `source` gives the text of a module.
pub fn bundle(
    entry: &str,
    source: &dyn Fn(&str) -> Option<&'static str>,
) -> Result<String, String> {
    let mut bundle = Bundle {
        source,
        done: Vec::new(),
        open: Vec::new(),
        script: "\"use strict\";\n".to_owned(),
    };
    bundle.add(entry)?;
    Ok(bundle.script)
}

struct Bundle<'a> {
    source: &'a dyn Fn(&str) -> Option<&'static str>,
    done: Vec<String>,
    open: Vec<String>,
    script: String,
}

impl Bundle<'_> {
    /// Adds a module behind those that it imports.
    fn add(&mut self, name: &str) -> Result<(), String> {
        if self.done.iter().any(|done| done == name) {
            return Ok(());
        }
        if self.open.iter().any(|open| open == name) {
            return Err(format!(
                "{name} imports itself, by way of {}",
                self.open.join(", ")
            ));
        }
        let text = (self.source)(name).ok_or_else(|| format!("there is no module {name}"))?;
        self.open.push(name.to_owned());
        let module = Module::read(name, text)?;
        for import in &module.imports {
            self.add(&import.from)?;
        }
        self.open.pop();
        self.done.push(name.to_owned());
        // Writing to a string cannot fail.
        let _ = writeln!(self.script, "const {} = (() => {{", variable(name));
        for import in &module.imports {
            let _ = writeln!(
                self.script,
                "const {} = {};",
                import.names,
                variable(&import.from)
            );
        }
        self.script.push_str(&module.body);
        let _ = writeln!(
            self.script,
            "return {{ {} }};\n}})();",
            module.exports.join(", ")
        );
        Ok(())
    }
}

/// A module taken apart.
struct Module {
    imports: Vec<Import>,
    exports: Vec<String>,
    body: String,
}

struct Import {
    /// What stands before the equals sign: `{ a, b: c }` or `x`.
    names: String,
    from: String,
}

impl Module {
    fn read(name: &str, text: &str) -> Result<Self, String> {
        let mut module = Module {
            imports: Vec::new(),
            exports: Vec::new(),
            body: String::new(),
        };
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.starts_with("import ") {
                let mut statement = line.to_owned();
                while !statement.ends_with(';') {
                    let more = lines.next().ok_or_else(|| format!("{name}: {statement}"))?;
                    statement.push(' ');
                    statement.push_str(more.trim());
                }
                let import = Import::read(&statement);
                module
                    .imports
                    .push(import.ok_or_else(|| format!("{name}: {statement}"))?);
            } else if let Some(declaration) = line.strip_prefix("export ") {
                let declared = declared(declaration).ok_or_else(|| format!("{name}: {line}"))?;
                module.exports.push(declared.to_owned());
                module.body.push_str(declaration);
                module.body.push('\n');
            } else {
                module.body.push_str(line);
                module.body.push('\n');
            }
        }
        Ok(module)
    }
}

impl Import {
    fn read(statement: &str) -> Option<Self> {
        let rest = statement.strip_prefix("import ")?.strip_suffix(';')?;
        let (names, from) = rest.split_once(" from ")?;
        let from = from.trim().trim_matches('"').strip_prefix("./")?.to_owned();
        let names = match names.trim() {
            all if all.starts_with("* as ") => all["* as ".len()..].to_owned(),
            list if list.starts_with('{') && list.ends_with('}') => list.replace(" as ", ": "),
            _ => return None,
        };
        Some(Import { names, from })
    }
}

/// The name that a declaration declares. A variable that changes later would be exported as it is first.
fn declared(declaration: &str) -> Option<&str> {
    let rest = ["async function ", "function ", "class ", "const "]
        .iter()
        .find_map(|keyword| declaration.strip_prefix(keyword))?;
    let rest = rest.strip_prefix('*').unwrap_or(rest);
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$')?;
    (end > 0).then(|| &rest[..end])
}

fn variable(module: &str) -> String {
    let name: String = module
        .chars()
        .map(|c| if c.is_alphanumeric() { c } else { '_' })
        .collect();
    format!("module_{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(name: &str) -> Option<&'static str> {
        Some(match name {
            "main.js" => {
                "// Begins.\nimport { a, b as c } from \"./two.js\";\nimport {\n  three,\n} from \"./three.js\";\na(c, three);\n"
            }
            "two.js" => {
                "import * as three from \"./three.js\";\nexport function a() {}\nexport const b = three.three;\n"
            }
            "three.js" => "export const three = 3;\nconst a = 1;\n",
            "loop.js" => "import { x } from \"./loop.js\";\n",
            "let.js" => "export let x = 1;\n",
            "default.js" => "import x from \"./three.js\";\n",
            _ => return None,
        })
    }

    #[test]
    fn modules_become_one_script_in_order() {
        let script = bundle("main.js", &modules).unwrap();
        assert_eq!(
            script,
            "\"use strict\";\n\
             const module_three_js = (() => {\nconst three = 3;\nconst a = 1;\nreturn { three };\n})();\n\
             const module_two_js = (() => {\nconst three = module_three_js;\nfunction a() {}\n\
             const b = three.three;\nreturn { a, b };\n})();\n\
             const module_main_js = (() => {\nconst { a, b: c } = module_two_js;\n\
             const { three, } = module_three_js;\n// Begins.\na(c, three);\nreturn {  };\n})();\n"
        );
    }

    #[test]
    fn what_cannot_be_bundled_is_refused() {
        for name in ["loop.js", "let.js", "default.js", "none.js"] {
            assert!(bundle(name, &modules).is_err(), "{name}");
        }
    }
}
