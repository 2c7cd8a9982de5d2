//! `coordctl image`: what can be typed.

use super::{FormatArgs, ImageBuildArgs};
use clap::{Args, Subcommand};
use coord_shared::names::{Digest, Repository};

#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    pub(crate) command: ImageCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List the images of the image centre, their sizes, and what keeps them
    #[command(visible_alias = "list")]
    Ls {
        /// Only this repository
        repository: Option<Repository>,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Make an image of an archive or a folder, in the image centre
    #[command(
        long_about = "Make an image of an archive or a folder, in the image centre: a base image by reference, one layer of the archive's \
files, and what the recipe says. Prints how documents name it. The same files, recipe, base and time give the same digest.",
        after_help = "Example:\n  coordctl image build dist/ --recipe image.toml --repository shop --tag 1.2"
    )]
    Build(Box<ImageBuildArgs>),
    /// Remove tags or images from the image centre
    #[command(
        visible_alias = "remove",
        long_about = "Remove tags or images from the image centre: REPOSITORY:TAG removes that tag, REPOSITORY@DIGEST an image with \
all of its tags, and REPOSITORY all of its tags. An image that a document uses, or could go back to, is refused. The room is free after \
the next collection (`coordctl image gc`)."
    )]
    Rm {
        /// What to remove: REPOSITORY, REPOSITORY:TAG or REPOSITORY@DIGEST
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<Stored>,
    },
    /// Remove what nothing in the image centre needs, and tags that its retention rules let go
    #[command(
        long_about = "Remove what nothing in the image centre needs, and tags that its retention rules let go. The coordinator does \
so by itself every hour. What a tag, a document or a revision kept for going back needs stays, and so does what was pushed a moment ago."
    )]
    Gc {
        /// Only show what would go
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        format: FormatArgs,
    },
}

/// Something in the image centre, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) repository: Repository,
    /// Tag or digest.
    pub(crate) reference: Option<String>,
}

impl std::str::FromStr for Stored {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        // The name by which documents call the centre is no part of a repository.
        let text = text.strip_prefix("coord.internal/").unwrap_or(text);
        let of = |repository: &str, reference: Option<&str>| {
            let repository = repository.parse().map_err(|error| format!("{error}"))?;
            Ok(Self { repository, reference: reference.map(str::to_owned) })
        };
        match (text.split_once('@'), text.split_once(':')) {
            (Some((repository, digest)), _) => {
                digest.parse::<Digest>().map_err(|error| format!("{error}"))?;
                // A tag beside a digest says nothing more.
                of(repository.split(':').next().unwrap_or(repository), Some(digest))
            }
            (None, Some((repository, tag))) => of(repository, Some(tag)),
            (None, None) => of(text, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_the_centre_has_three_spellings() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let check = |text: &str, expect: Option<(&str, Option<&str>)>| {
            let got = text.parse::<Stored>().ok().map(|stored| (stored.repository.to_string(), stored.reference));
            assert_eq!(got, expect.map(|(name, reference)| (name.to_owned(), reference.map(str::to_owned))), "{text}");
        };
        check("shop/web", Some(("shop/web", None)));
        check("shop/web:1.2", Some(("shop/web", Some("1.2"))));
        check(&format!("shop/web@{digest}"), Some(("shop/web", Some(&digest))));
        check(&format!("coord.internal/shop:1@{digest}"), Some(("shop", Some(&digest))));
        check("shop@1", None);
        check("Shop", None);
    }
}
