//! The deploy requirement with the new image in it: the author's text, comments and all, but for one value.

use coord_shared::names::PinnedImage;
use toml::de::DeTable;

/// The text cannot be given an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not TOML: {0}")]
pub struct ImageKeyError(String);

/// `text` with `image` as the value of its top-level key of that name; the key is put first where it is missing.
pub fn with_image(text: &str, image: &PinnedImage) -> Result<String, ImageKeyError> {
    let table = DeTable::parse(text).map_err(|error| ImageKeyError(coord_shared::text::toml_mistake(&error, text)))?;
    let value = format!("\"{image}\"");
    let found = table.get_ref().iter().find(|(key, _)| key.get_ref() == "image").map(|(_, value)| value.span());
    Ok(match found {
        Some(span) => [&text[..span.start], &value, &text[span.end..]].concat(),
        None => format!("image = {value}\n{text}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use coord_shared::names::{Digest, ImageReference};

    #[test]
    fn only_the_value_is_replaced() {
        let image: ImageReference = "coord.internal/shop:abc".parse().unwrap();
        let image = image.pin(Digest::of(b"x"));
        let check = |text: &str, expect: &str| {
            assert_eq!(with_image(text, &image).unwrap(), expect.replace("NEW", &format!("\"{image}\"")));
        };
        check("image = \"old\"\nhosts = [\"*\"]\n", "image = NEW\nhosts = [\"*\"]\n");
        check(
            "# ours\nhosts = [\"*\"]\nimage   =   'old'   # whatever\n\n[labels]\nimage = \"x\"\n",
            "# ours\nhosts = [\"*\"]\nimage   =   NEW   # whatever\n\n[labels]\nimage = \"x\"\n",
        );
        check("image = \"\"\"\nold\"\"\"\n", "image = NEW\n");
        check("\"image\" = 1", "\"image\" = NEW");
        check("hosts = [\"*\"]\n[labels]\nimage = \"x\"\n", "image = NEW\nhosts = [\"*\"]\n[labels]\nimage = \"x\"\n");
        check("", "image = NEW\n");
        assert!(with_image("image = ", &image).unwrap_err().to_string().contains("not TOML"));
    }
}
