//! Mistakes in a daemon's own configuration: what and where, for a log.
//!
//! Deliberately without the line itself, which the parser would show: it may hold a password or a token.

/// Keys whose values are, or may hold, secrets.
const SECRET_KEYS: [&str; 3] = ["password", "token", "proxy"];

/// What is wrong with `text`, in which line and with which key. Never a secret's value.
pub fn toml_mistake(error: &toml::de::Error, text: &str) -> String {
    let message = error.message();
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return message.to_owned() };
    let number = before.matches('\n').count();
    let key = text.lines().nth(number).and_then(|line| line.split_once('=')).map_or("", |(key, _)| key.trim());
    let message = if SECRET_KEYS.contains(&key) { without_value(message) } else { message.to_owned() };
    let key = if key.is_empty() { String::new() } else { format!(", {key}") };
    format!("line {}{key}: {message}", number + 1)
}

/// "invalid type: integer `7`, expected a string", without the 7.
fn without_value(message: &str) -> String {
    let value = message.split_once(['`', '"']).and_then(|(head, rest)| Some((head, rest.rsplit_once(", expected ")?.1)));
    value.map_or_else(|| message.to_owned(), |(head, expected)| format!("{}, expected {expected}", head.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(rename = "name")]
        _name: Option<String>,
        #[serde(rename = "password")]
        _password: Option<String>,
    }

    #[test]
    fn mistakes_are_placed_and_secrets_kept() {
        let check = |text: &str, expect: &str| {
            let error = toml::from_str::<File>(text).err().expect("a mistake");
            assert_eq!(toml_mistake(&error, text), expect);
        };
        check("\nname = 7", "line 2, name: invalid type: integer `7`, expected a string");
        check("password = 4711", "line 1, password: invalid type: integer, expected a string");
        check("password = [\"sesame\"]", "line 1, password: invalid type: sequence, expected a string");
        check("password = \"sesame", "line 1, password: invalid basic string, expected `\"`");
        check("name = \"a\"\npass = \"sesame\"", "line 2, pass: unknown field `pass`, expected `name` or `password`");
        check("[", "line 1: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`");
    }
}
