package config

import (
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/upstreamauth/caddy-upstream-auth/internal/tlsfiles"
)

// OneArg reads the only argument of a subdirective, which may be given once.
func OneArg(d *caddyfile.Dispenser, target *string) error {
	name := d.Val()
	if *target != "" {
		return d.Errf("%s is given twice", name)
	}
	if !d.NextArg() || d.Val() == "" {
		return d.ArgErr()
	}
	*target = d.Val()
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// NoArg reads a subdirective that is enough by itself, once.
func NoArg(d *caddyfile.Dispenser, target *bool) error {
	if *target {
		return d.Errf("%s is given twice", d.Val())
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	*target = true
	return nil
}

// FileArg is OneArg for a file that must be there when the Caddyfile is adapted.
// A path with a run-time placeholder is checked when the configuration is loaded.
func FileArg(d *caddyfile.Dispenser, target *string) error {
	name := d.Val()
	if err := OneArg(d, target); err != nil {
		return err
	}
	if strings.Contains(*target, "{") {
		return nil
	}
	if err := CheckReadable(*target); err != nil {
		return d.Errf("%s: %w", name, err)
	}
	return nil
}

// TLSFileArg is [FileArg] for tls_ca, tls_client_cert or tls_client_key.
func TLSFileArg(d *caddyfile.Dispenser, files *tlsfiles.Files) error {
	return FileArg(d, map[string]*string{
		"tls_ca": &files.TLSCA, "tls_client_cert": &files.TLSClientCert, "tls_client_key": &files.TLSClientKey,
	}[d.Val()])
}

// DurationArg reads the only argument of a subdirective, a duration above zero.
func DurationArg(d *caddyfile.Dispenser, target *caddy.Duration) error {
	name := d.Val()
	if err := DurationOrZeroArg(d, target); err != nil {
		return err
	}
	if *target == 0 {
		return d.Errf("%s must be above zero", name)
	}
	return nil
}

// DurationOrZeroArg reads the only argument of a subdirective, a duration.
func DurationOrZeroArg(d *caddyfile.Dispenser, target *caddy.Duration) error {
	name := d.Val()
	var text string
	if *target != 0 {
		return d.Errf("%s is given twice", name)
	}
	if err := OneArg(d, &text); err != nil {
		return err
	}
	duration, err := caddy.ParseDuration(text)
	if err != nil {
		return d.Errf("%s: '%s' is not a duration", name, text)
	}
	if duration < 0 {
		return d.Errf("%s cannot be below zero", name)
	}
	*target = caddy.Duration(duration)
	return nil
}

// SizeArg reads the only argument of a subdirective, a number of bytes such as
// 10MiB.
func SizeArg(d *caddyfile.Dispenser, target **int64) error {
	name := d.Val()
	if *target != nil {
		return d.Errf("%s is given twice", name)
	}
	var text string
	if err := OneArg(d, &text); err != nil {
		return err
	}
	size, err := humanize.ParseBytes(text)
	if err != nil || size > 1<<62 {
		return d.Errf("%s: '%s' is not a size", name, text)
	}
	bytes := int64(size)
	*target = &bytes
	return nil
}

// ManyArgs appends all arguments of a subdirective, which needs at least one.
func ManyArgs(d *caddyfile.Dispenser, target *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*target = append(*target, args...)
	return nil
}

// NamedArg reads a name and a value.
func NamedArg(d *caddyfile.Dispenser) (name, value string, err error) {
	if !d.AllArgs(&name, &value) {
		return "", "", d.ArgErr()
	}
	return name, value, nil
}

// NamedArgs reads a name and a value into a map, each name once.
func NamedArgs(d *caddyfile.Dispenser, target *map[string]string) error {
	kind := d.Val()
	name, value, err := NamedArg(d)
	if err != nil {
		return err
	}
	if _, given := (*target)[name]; given {
		return d.Errf("%s %s is given twice", kind, name)
	}
	if *target == nil {
		*target = make(map[string]string)
	}
	(*target)[name] = value
	return nil
}

// EndpointArg is [OneArg] for a URL that secrets are sent to.
func EndpointArg(d *caddyfile.Dispenser, target *string) error {
	name := d.Val()
	if err := OneArg(d, target); err != nil {
		return err
	}
	return CheckLiteral(d, name, *target, CheckEndpoint)
}

// CheckLiteral checks a value in which nothing is left to fill in.
func CheckLiteral(d *caddyfile.Dispenser, name, value string, check func(string) error) error {
	if strings.Contains(value, "{") {
		return nil
	}
	return WrapErr(d, name, check(value))
}

// WrapErr adds the place in the Caddyfile to err, if there is one.
func WrapErr(d *caddyfile.Dispenser, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case name == "":
		return d.WrapErr(err)
	default:
		return d.Errf("%s: %w", name, err)
	}
}
