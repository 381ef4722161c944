//! minijinja made to behave like Python's jinja2 as transformers configures it for chat templates.

use std::error::Error as StdError;
use std::fmt;

use jiff::civil::DateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Tuple, ValueKind, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::{globals, pycompat};

use super::python::{self, JsonStyle};

/// What one rendering may cost: instructions, and about 64 bytes each. It ends a hostile template within
/// seconds and within half a gigabyte, and suffices for conversations of tens of megabytes.
const FUEL: u64 = 8_000_000;

/// A hostile template can nest lists as deep as its fuel allows, and they are dropped recursively. Of
/// this address space only what is touched becomes memory.
const STACK: usize = 1 << 30;

/// Renders on a thread of its own with room for what the fuel can nest; where there is no such room,
/// on this one.
pub(super) fn with_deep_stack(
    render: impl Fn() -> Result<String, Error> + Sync,
) -> Result<String, Error> {
    std::thread::scope(|scope| {
        let spawned = std::thread::Builder::new()
            .name("chat-template".into())
            .stack_size(STACK)
            .spawn_scoped(scope, &render);
        match spawned {
            Ok(handle) => handle.join().unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::InvalidOperation,
                    "the template engine stopped",
                ))
            }),
            Err(_) => render(),
        }
    })
}

/// What `raise_exception` raised.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Raised {}

/// The message that a template raised, where that is what went wrong.
pub(super) fn raised(error: &Error) -> Option<String> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(Raised(message)) = error.downcast_ref() {
            return Some(message.clone());
        }
        cause = error.source();
    }
    None
}

/// An environment without templates. `now` is what `strftime_now` tells.
pub(super) fn python_like(now: DateTime) -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    if let Ok(syntax) = syntax {
        environment.set_syntax(syntax);
    }
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(method);
    environment.add_filter("tojson", to_json);
    environment.add_filter("trim", trim);
    environment.add_filter("int", int);
    environment.add_filter("wordcount", word_count);
    environment.add_test("sequence", is_sequence);
    environment.add_test("iterable", |value: &Value| {
        value.is_undefined() || value.as_str().is_some() || value.try_iter().is_ok()
    });
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", move |format: &str| strftime(now, format));
    environment.add_function("cycler", |items: Rest<Value>| globals::cycler(items.0));
    environment.add_function("joiner", globals::joiner);
    environment.remove_global("debug");
    environment
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    let error = Error::new(ErrorKind::InvalidOperation, "raised by the template");
    Err(error.with_source(Raised(message.to_owned())))
}

fn strftime(now: DateTime, format: &str) -> Result<String, Error> {
    jiff::fmt::strtime::format(format, now).map_err(|error| {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("strftime_now does not know the format `{format}`: {error}"),
        )
    })
}

fn is_sequence(value: &Value) -> bool {
    // In Python everything with a length and items is one, strings and mappings included.
    value.is_undefined()
        || matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Bytes
        )
}

fn trim(value: &Value, chars: Option<&str>) -> String {
    let text = value.to_string();
    text.trim_matches(|c| python::in_set(chars, c)).to_owned()
}

/// The filter `int`, which gives a default for what is no number.
fn int(value: &Value, default: Option<i64>) -> i64 {
    let text = value.to_string();
    let text = text.trim_matches(python::is_space);
    let whole = text.parse().ok();
    let number = || text.parse().ok().filter(|n: &f64| n.is_finite());
    let truth = || (value.kind() == ValueKind::Bool).then(|| i64::from(value.is_true()));
    // A float is cut towards zero, as Python does.
    whole
        .or_else(truth)
        .or_else(|| number().map(|n| n as i64))
        .unwrap_or(default.unwrap_or(0))
}

fn word_count(value: &Value) -> usize {
    python::count_words(&value.to_string())
}

fn to_json(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<String, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get::<Option<Value>>("indent")?,
    };
    let indent = match indent.filter(|indent| !indent.is_none()) {
        None => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(u8::try_from(indent)?.into()),
        }),
    };
    let separators: Option<(String, String)> = match options.get::<Option<Value>>("separators")? {
        Some(pair) if !pair.is_none() => Some((
            pair.get_item_by_index(0)?.to_string(),
            pair.get_item_by_index(1)?.to_string(),
        )),
        _ => None,
    };
    let (item_separator, key_separator) = separators.unwrap_or_else(|| {
        let item = if indent.is_some() { "," } else { ", " };
        (item.to_owned(), ": ".to_owned())
    });
    let style = JsonStyle {
        indent,
        item_separator,
        key_separator,
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ensure_ascii: options
            .get::<Option<bool>>("ensure_ascii")?
            .unwrap_or(false),
    };
    options.assert_all_used()?;
    if value.is_undefined() {
        return Err(Error::new(
            ErrorKind::BadSerialization,
            "an undefined value has no JSON form",
        ));
    }
    let value = serde_json::to_value(value).map_err(|error| {
        Error::new(ErrorKind::BadSerialization, "value has no JSON form").with_source(error)
    })?;
    Ok(python::dump(&value, &style))
}

/// Python's methods: those of strings that differ from what minijinja's helper does, then the helper's.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str()
        && let Some(result) = string_method(text, name, args)?
    {
        return Ok(result);
    }
    pycompat::unknown_method_callback(state, value, name, args)
}

fn string_method(text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let result = match name {
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<&str>,) = from_args(args)?;
            let set = |c| python::in_set(chars, c);
            Value::from(match name {
                "strip" => text.trim_matches(set),
                "lstrip" => text.trim_start_matches(set),
                _ => text.trim_end_matches(set),
            })
        }
        "split" | "rsplit" => {
            let (separator, max): (Option<&str>, Option<i64>) = from_args(args)?;
            let max = max.and_then(|max| usize::try_from(max).ok());
            strings(split(text, separator, max, name == "rsplit")?)
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let found = match name {
                "partition" => text.split_once(separator),
                _ => text.rsplit_once(separator),
            };
            let parts = match found {
                Some((before, after)) => [before, separator, after],
                None if name == "partition" => [text, "", ""],
                None => ["", "", text],
            };
            Value::from(Tuple::from(parts.map(Value::from)))
        }
        "splitlines" => {
            let (keep,): (Option<bool>,) = from_args(args)?;
            strings(python::split_lines(text, keep.unwrap_or(false)))
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "title" => {
            let () = from_args(args)?;
            Value::from(python::title(text))
        }
        "casefold" | "swapcase" => {
            let () = from_args(args)?;
            let swap = |c: char| match c.is_lowercase() {
                true => c.to_uppercase().to_string(),
                false => c.to_lowercase().to_string(),
            };
            Value::from(match name {
                "casefold" => text.to_lowercase(),
                _ => text.chars().map(swap).collect(),
            })
        }
        "ljust" | "rjust" | "zfill" => {
            let (width, fill): (u16, Option<char>) = from_args(args)?;
            let missing = usize::from(width).saturating_sub(text.chars().count());
            let fill = if name == "zfill" {
                '0'
            } else {
                fill.unwrap_or(' ')
            };
            let padding = String::from(fill).repeat(missing);
            let signed = text.strip_prefix(['+', '-']).filter(|_| name == "zfill");
            Value::from(match signed {
                Some(digits) => format!("{}{padding}{digits}", &text[..1]),
                None if name == "ljust" => format!("{text}{padding}"),
                None => format!("{padding}{text}"),
            })
        }
        "center" => {
            let (width, fill): (u16, Option<char>) = from_args(args)?;
            Value::from(python::center(text, width.into(), fill.unwrap_or(' ')))
        }
        "expandtabs" => Value::from(expand_tabs(text, args)?),
        "index" | "rindex" => {
            let (what,): (&str,) = from_args(args)?;
            let found = match name {
                "index" => text.find(what),
                _ => text.rfind(what),
            };
            let at = found
                .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "substring not found"))?;
            Value::from(text[..at].chars().count())
        }
        _ => match string_test(text, name) {
            Some(holds) => {
                let () = from_args(args)?;
                Value::from(holds)
            }
            None => return Ok(None),
        },
    };
    Ok(Some(result))
}

/// What the methods say that take nothing and tell whether something holds of a whole string.
fn string_test(text: &str, name: &str) -> Option<bool> {
    Some(match name {
        "isspace" => !text.is_empty() && text.chars().all(python::is_space),
        "isdecimal" => python::is_decimal(text),
        "istitle" => python::is_title(text),
        "isprintable" => python::is_printable(text),
        "isidentifier" => python::is_identifier(text),
        _ => return None,
    })
}

/// `str.expandtabs`, whose size may be named. It is bounded, since one tab becomes that many spaces.
fn expand_tabs(text: &str, args: &[Value]) -> Result<String, Error> {
    let (size, options): (Option<i64>, Kwargs) = from_args(args)?;
    let size = match size {
        Some(size) => Some(size),
        None => options.get::<Option<i64>>("tabsize")?,
    };
    options.assert_all_used()?;
    let size = u8::try_from(size.unwrap_or(8).max(0)).map_err(|_| {
        Error::new(
            ErrorKind::InvalidOperation,
            "expandtabs takes a size of at most 255",
        )
    })?;
    Ok(python::expand_tabs(text, size.into()))
}

fn strings(parts: Vec<&str>) -> Value {
    parts.into_iter().map(Value::from).collect()
}

fn split<'a>(
    text: &'a str,
    separator: Option<&str>,
    max: Option<usize>,
    from_right: bool,
) -> Result<Vec<&'a str>, Error> {
    match (separator, max) {
        (Some(""), _) => Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
        (None, Some(_)) if from_right => Err(Error::new(
            ErrorKind::InvalidOperation,
            "rsplit with a limit needs a separator",
        )),
        (None, max) => Ok(python::split_space(text, max)),
        (Some(separator), None) => Ok(text.split(separator).collect()),
        (Some(separator), Some(max)) if from_right => {
            let mut parts: Vec<_> = text.rsplitn(max.saturating_add(1), separator).collect();
            parts.reverse();
            Ok(parts)
        }
        (Some(separator), Some(max)) => Ok(text.splitn(max.saturating_add(1), separator).collect()),
    }
}
