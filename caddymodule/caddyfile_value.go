package caddymodule

import (
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// oneArg reads the only argument of a subdirective, which may be given once.
func oneArg(d *caddyfile.Dispenser, target *string) error {
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

// fileArg is oneArg for a file that must be there when the Caddyfile is adapted.
// A path with a run-time placeholder is checked when the configuration is loaded.
func fileArg(d *caddyfile.Dispenser, target *string) error {
	name := d.Val()
	if err := oneArg(d, target); err != nil {
		return err
	}
	if strings.Contains(*target, "{") {
		return nil
	}
	if err := checkReadable(*target); err != nil {
		return d.Errf("%s: %w", name, err)
	}
	return nil
}

// durationArg reads the only argument of a subdirective, a duration above zero.
func durationArg(d *caddyfile.Dispenser, target *caddy.Duration) error {
	name := d.Val()
	if err := durationOrZeroArg(d, target); err != nil {
		return err
	}
	if *target == 0 {
		return d.Errf("%s must be above zero", name)
	}
	return nil
}

// durationOrZeroArg reads the only argument of a subdirective, a duration.
func durationOrZeroArg(d *caddyfile.Dispenser, target *caddy.Duration) error {
	name := d.Val()
	var text string
	if *target != 0 {
		return d.Errf("%s is given twice", name)
	}
	if err := oneArg(d, &text); err != nil {
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

// sizeArg reads the only argument of a subdirective, a number of bytes such as
// 10MiB.
func sizeArg(d *caddyfile.Dispenser, target **int64) error {
	name := d.Val()
	if *target != nil {
		return d.Errf("%s is given twice", name)
	}
	var text string
	if err := oneArg(d, &text); err != nil {
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

// manyArgs appends all arguments of a subdirective, which needs at least one.
func manyArgs(d *caddyfile.Dispenser, target *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*target = append(*target, args...)
	return nil
}

// namedArg reads a name and a value.
func namedArg(d *caddyfile.Dispenser) (name, value string, err error) {
	if !d.AllArgs(&name, &value) {
		return "", "", d.ArgErr()
	}
	return name, value, nil
}
