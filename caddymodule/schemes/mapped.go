package schemes

import (
	"fmt"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

// parseMapped parses the value that a scheme of a kind gives to something with a name. Its
// literal text has to meet rule.
func parseMapped(kind, name, value string, rule template.Rule, lookup func(string) (string, error)) (*template.Template, error) {
	parsed, err := config.ParseSecret(value, lookup)
	if err == nil {
		err = parsed.CheckLiterals(rule)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind, name, err)
	}
	return parsed, nil
}
