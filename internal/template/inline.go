package template

import "errors"

// ErrInlineSecret refuses text that would put a secret into the configuration.
var ErrInlineSecret = errors.New("a secret is not written into the configuration: " +
	"use {credential.<path>}, {env.NAME} or {file.PATH}")
