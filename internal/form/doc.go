// Package form makes a form of the JSON Schemas of a credential, and a credential's
// document of what a person fills into it. It knows neither HTML nor HTTP.
//
// A schema can say more than a form can ask for: what is not in the subset (schema.go,
// field.go) is an error when the form is made, and all else that a schema says is left to
// [credential.Schema.Check]. Whatever is typed comes out as text, a number or a choice
// that the schema names; nothing that the form has no field for comes out at all.
package form
