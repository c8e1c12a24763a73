//! How the API description writes the fields of a product.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Object, ObjectBuilder, RefOr, Schema,
        schema::{AdditionalProperties, Type},
    },
};

use crate::{
    domain::products::{CURRENCIES, MAX_ATTRIBUTES, MAX_NAME_OF_ATTRIBUTE},
    handlers::users::plain_text,
};

macro_rules! schemas {
    ($($(#[$doc:meta])* $name:ident $as:literal $build:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $build.into()
            }
        }

        impl ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                $as.into()
            }
        }
    )*};
}

fn one_line(description: &str, example: &str) -> ObjectBuilder {
    // Not blank either.
    let pattern = match plain_text().build().pattern {
        Some(plain) => plain.replacen('^', r"^(?!\s*$)", 1),
        None => String::new(),
    };
    plain_text()
        .max_length(Some(200))
        .pattern(Some(pattern))
        .description(Some(description))
        .examples([example])
}

fn name_of_attribute() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(MAX_NAME_OF_ATTRIBUTE))
        .pattern(Some(r"^[^\u0000-\u001F\u007F-\u009F]*$"))
        .build()
}

schemas! {
    /// A name that people read.
    ProductNameSchema "ProductName"
        one_line("Not blank, without control or invisible characters.", "Chef's knife, 20 cm");
    /// Why stock was moved.
    ReasonSchema "Reason"
        one_line("Why. Not blank, without control or invisible characters.", "broken");
    /// The way from the root.
    CategoryPathSchema "CategoryPath"
        ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(255))
            .pattern(Some("^[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*){0,7}$"))
            .description(Some("Up to eight slugs between slashes, from the root of the tree."))
            .examples(["home/kitchen/knives"]);
    /// ISO 4217.
    CurrencySchema "Currency"
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(CURRENCIES.iter().copied()))
            .description(Some("ISO 4217"))
            .examples(["EUR"]);
    /// Whatever else there is to say.
    AttributesSchema "Attributes"
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .max_properties(Some(MAX_ATTRIBUTES))
            .property_names(Some(name_of_attribute()))
            .description(Some(
                "Names of 1 to 64 characters; values nested at most three deep; numbers are integers of 64 bits or doubles, up to 1e100 either way; 8 KiB in all.",
            ));
}
