//! `coordctl tokens`: who may command the fleet, and who may use the image centre.

use crate::cli::{Format, TokensAddArgs, TokensArgs, TokensCommand};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{Cell, Column, Output, Palette, Shrink, Table, Tone, ago};
use coord_shared::names::RepositoryPattern;
use coord_shared::wire::{TokenRights, TokensView};

pub(super) async fn run(args: TokensArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    match args.command {
        None => list(args.format.format, client, output).await,
        Some(TokensCommand::Ls { format }) => list(format.format, client, output).await,
        Some(TokensCommand::Add(args)) => add(args, client, output).await,
        Some(TokensCommand::Rm { names }) => {
            for name in names {
                output.waiting(&format!("ending {name}"), client.remove_token(&name)).await?;
                output.message(&format!("token {name} has ended"));
            }
            Ok(Exit::Done)
        }
    }
}

async fn list(format: Format, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let view = output.waiting("reading the tokens", client.tokens()).await?;
    match format {
        Format::Json => output.json(&view)?,
        Format::Table => output.data(&render(&view, output.width(), output.palette))?,
    }
    Ok(Exit::Done)
}

async fn add(args: TokensAddArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let TokensAddArgs { name, pull, push, admin, format } = args;
    let rights = if admin { TokenRights::Admin } else { TokenRights::Registry { pull, push } };
    let answer = output.waiting(&format!("making {name}"), client.add_token(&name, rights)).await?;
    match format.format {
        Format::Json => output.json(&answer)?,
        Format::Table => {
            let purpose = if admin { "opens everything" } else { "is the password of `docker login`, with any user name" };
            output.message(&format!("this is the token {name}, shown this once; it {purpose}"));
            output.data(&format!("{}\n", answer.token))?;
        }
    }
    Ok(Exit::Done)
}

const COLUMNS: [Column; 5] = [
    Column::left("TOKEN").shrinks(Shrink::End(12)),
    Column::left("PULLS").shrinks(Shrink::End(12)),
    Column::left("PUSHES").shrinks(Shrink::End(12)),
    Column::right("MADE"),
    Column::left("BY").shrinks(Shrink::End(12)),
];

fn render(view: &TokensView, width: Option<usize>, palette: Palette) -> String {
    let mut table = Table::new(&COLUMNS);
    for token in &view.tokens {
        let (pulls, pushes) = match &token.rights {
            TokenRights::Admin => (Cell::toned("everything, as an admin", Tone::Warn), Cell::toned("everything", Tone::Warn)),
            TokenRights::Registry { pull, push } => (Cell::new(list_of(pull.iter().chain(push))), Cell::new(list_of(push))),
        };
        table.row([
            Cell::new(&token.name),
            pulls,
            pushes,
            Cell::new(token.made_at.map_or_else(|| "at first".to_owned(), |at| ago(view.now, at))),
            Cell::new(token.made_by.as_deref().unwrap_or("-")),
        ]);
    }
    table.render(width, palette)
}

fn list_of<'a>(patterns: impl IntoIterator<Item = &'a RepositoryPattern>) -> String {
    let texts: Vec<&str> = patterns.into_iter().map(RepositoryPattern::as_str).collect();
    if texts.is_empty() { "-".to_owned() } else { texts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expect::expect;

    #[test]
    fn tokens_are_listed_with_what_they_open() {
        let view: TokensView = serde_json::from_str(include_str!("tokens/tests/tokens.json")).expect("a view");
        expect("src/commands/tokens/tests/tokens.txt", &render(&view, Some(100), Palette { on: false }));
    }
}
