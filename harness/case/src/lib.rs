//! The `#[case]` attribute: turns an async function into a `Case` constant of the same name.
//!
//! What it guarantees: a case without a doc sentence or without `covers` does not compile, and a case that no
//! `CASES` table lists is a `dead_code` warning on its own name. It registers nothing by itself: tables are written
//! out, so that no entry is lost silently.

use proc_macro::TokenStream;
use proc_macro2::{Span, TokenStream as Tokens};
use quote::{format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::{
    Attribute, Error, Expr, ExprArray, Ident, ItemFn, Lit, LitStr, Meta, Result, Token, parse_macro_input,
};

/// Declares a case. Arguments:
///
/// * `covers = ["requirement.id", ...]`, at least one; the first is the primary one. With a matrix it may be empty
///   when every variant names what it covers.
/// * `matrix(key = VARIANTS)`: one case per entry of a `&'static [Variant]`; the value is `cx.param("key")`.
/// * `tags = ["slow", ...]`: free labels for filters.
/// * `exclusive = ["images", ...]`: resources that no other case may use at the same time.
/// * `deadline_s = 30`: the deadline of the whole case, in seconds.
#[proc_macro_attribute]
pub fn case(args: TokenStream, item: TokenStream) -> TokenStream {
    let args = parse_macro_input!(args as Args);
    let function = parse_macro_input!(item as ItemFn);
    expand(&args, function).unwrap_or_else(Error::into_compile_error).into()
}

#[derive(Default)]
struct Args {
    covers: Vec<LitStr>,
    tags: Vec<LitStr>,
    exclusive: Vec<LitStr>,
    matrix: Option<(Ident, Expr)>,
    deadline_s: Option<Expr>,
}

impl Parse for Args {
    fn parse(input: ParseStream) -> Result<Self> {
        let mut args = Self::default();
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            match key.to_string().as_str() {
                "matrix" => {
                    let inner;
                    syn::parenthesized!(inner in input);
                    let axis: Ident = inner.parse()?;
                    inner.parse::<Token![=]>()?;
                    args.matrix = Some((axis, inner.parse()?));
                }
                name => {
                    input.parse::<Token![=]>()?;
                    match name {
                        "covers" => args.covers = strings(input)?,
                        "tags" => args.tags = strings(input)?,
                        "exclusive" => args.exclusive = strings(input)?,
                        "deadline_s" => args.deadline_s = Some(input.parse()?),
                        _ => {
                            let known = "covers, matrix, tags, exclusive, deadline_s";
                            return Err(Error::new(key.span(), format!("unknown argument; known: {known}")));
                        }
                    }
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(args)
    }
}

fn strings(input: ParseStream) -> Result<Vec<LitStr>> {
    let array: ExprArray = input.parse()?;
    array
        .elems
        .iter()
        .map(|e| match e {
            Expr::Lit(l) => match &l.lit {
                Lit::Str(s) => Ok(s.clone()),
                other => Err(Error::new(other.span(), "a string literal is needed here")),
            },
            other => Err(Error::new_spanned(other, "a string literal is needed here")),
        })
        .collect()
}

fn doc_sentence(attributes: &[Attribute], name: &Ident) -> Result<String> {
    let lines: Vec<String> = attributes
        .iter()
        .filter_map(|a| match &a.meta {
            Meta::NameValue(nv) if nv.path.is_ident("doc") => match &nv.value {
                Expr::Lit(l) => match &l.lit {
                    Lit::Str(s) => Some(s.value().trim().to_owned()),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        })
        .take_while(|line| !line.is_empty())
        .collect();
    let text = lines.join(" ");
    if text.is_empty() {
        return Err(Error::new(
            name.span(),
            "a case needs a doc sentence: it is its summary in every report",
        ));
    }
    if !text.ends_with('.') {
        return Err(Error::new(name.span(), "the doc sentence of a case ends with a full stop"));
    }
    Ok(text)
}

fn expand(args: &Args, mut function: ItemFn) -> Result<Tokens> {
    let name = function.sig.ident.clone();
    let summary = doc_sentence(&function.attrs, &name)?;
    if function.sig.asyncness.is_none() {
        return Err(Error::new(name.span(), "a case is an async fn"));
    }
    if args.covers.is_empty() && args.matrix.is_none() {
        return Err(Error::new(
            name.span(),
            "a case names the requirements that it covers: covers = [\"id\"]",
        ));
    }
    let inner = format_ident!("__case_{}", name);
    function.sig.ident = Ident::new(&inner.to_string(), Span::mixed_site().located_at(name.span()));
    let inner = function.sig.ident.clone();
    let visibility = std::mem::replace(&mut function.vis, syn::Visibility::Inherited);
    let kebab = name.to_string().replace('_', "-");
    let (covers, tags, exclusive) = (&args.covers, &args.tags, &args.exclusive);
    let (axis, variants) = match &args.matrix {
        Some((axis, table)) => (axis.to_string(), quote!(#table)),
        None => (String::new(), quote!(&[])),
    };
    let deadline = args.deadline_s.as_ref().map_or_else(|| quote!(None), |d| quote!(Some(#d)));
    let constant = quote_spanned! {name.span()=>
        #[allow(non_upper_case_globals)]
        #visibility const #name: ::plimsoll_kit::Case = ::plimsoll_kit::Case {
            name: #kebab,
            summary: #summary,
            covers: &[#(#covers),*],
            tags: &[#(#tags),*],
            exclusive: &[#(#exclusive),*],
            axis: #axis,
            variants: #variants,
            deadline_s: #deadline,
            file: ::core::file!(),
            line: ::core::line!(),
            run: |cx| ::std::boxed::Box::pin(#inner(cx)),
        };
    };
    Ok(quote!(#function #constant))
}
