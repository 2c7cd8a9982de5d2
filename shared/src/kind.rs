//! Which of the three formats a file is: a document, a pipeline or a recipe.
//!
//! All are TOML, so the place says it, and else the text. Whoever reads a folder of one kind (the coordinator's `documents`) need not
//! ask; whoever is handed a file by a person does.

use toml::de::DeTable;

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The desired state of a workload: [`crate::document`].
    Document,
    /// The way of a repository's commits into the fleet: [`crate::pipeline`].
    Pipeline,
    /// How an archive becomes an image: [`crate::recipe`].
    Recipe,
}

/// Files that are recipes wherever they lie, unless they say what only a document says.
const RECIPE_FILES: [&str; 2] = ["image.toml", "recipe.toml"];

impl Kind {
    /// What the file `file` (without folder) in a folder called `folder` is. A folder called `pipelines` or `recipes` holds only these; elsewhere a
    /// text with a table `[source]` is a pipeline, and one called `image.toml` or `recipe.toml` a recipe, unless it names `hosts`.
    pub fn of(folder: Option<&str>, file: &str, text: &str) -> Self {
        match folder {
            Some("pipelines") => return Self::Pipeline,
            Some("recipes") => return Self::Recipe,
            Some(_) | None => {}
        }
        // What is no TOML is a mistake of whichever format it is meant to be.
        let (table, _) = DeTable::parse_recoverable(text.get(..crate::document::DOCUMENT_MAX_BYTES).unwrap_or(text));
        let find =
            |wanted: &str| table.get_ref().iter().find(|(key, _)| key.get_ref() == wanted).map(|(_, value)| value.get_ref());
        if find("source").is_some_and(|value| value.is_table()) {
            Self::Pipeline
        } else if RECIPE_FILES.contains(&file) && find("hosts").is_none() {
            Self::Recipe
        } else {
            Self::Document
        }
    }

    /// What a text of it is called.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Pipeline => "pipeline",
            Self::Recipe => "recipe",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart() {
        let check = |folder: &str, file: &str, text: &str, expect: Kind| {
            assert_eq!(Kind::of(Some(folder).filter(|folder| !folder.is_empty()), file, text), expect, "{folder}/{file}: {text}");
        };
        check("", "web.toml", "image = \"web\"\nhosts = [\"a\"]", Kind::Document);
        check("pipelines", "web.toml", "image = \"web\"", Kind::Pipeline);
        check("", "shop.toml", "[source]\ngit = \"https://git.lan/shop\"", Kind::Pipeline);
        check("x", "shop.toml", "source.git = \"https://git.lan/shop\"\nimage = ", Kind::Pipeline);
        check("", "web.toml", "source = 3", Kind::Document);
        check("", "image.toml", "base = \"debian:12\"", Kind::Recipe);
        check("", "recipe.toml", "", Kind::Recipe);
        check("", "image.toml", "image = \"web\"\nhosts = [\"a\"]", Kind::Document);
        check("recipes", "shop.toml", "", Kind::Recipe);
        check("", "web.toml", "[source", Kind::Pipeline);
    }
}
