// Package template makes text of a credential: values of header fields and parameters,
// and URLs. No error of this package holds a value.
package template
