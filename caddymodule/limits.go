package caddymodule

import (
	"fmt"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
)

// Limits are what tenants may have in use at the same time, so that none of them takes what
// the others need. What is over one tenant's own limit is answered with 429, what is over a
// limit for all with 503, and both with `Retry-After` and the code `too_many_requests`.
type Limits struct {
	// Requests under way, WebSockets and other streams among them. Default: 10,000 of one
	// tenant, 20,000 in total.
	Requests Limit `json:"requests,omitzero"`

	// Requests that wait for a refresh. Those beyond do not wait: they get the upstream's own
	// answer, and the refresh is made all the same. Default: 5,000 of one tenant, 10,000 in
	// total.
	Refreshes Limit `json:"refreshes,omitzero"`

	// Calls of the credentials API under way. Default: 32 of one tenant, 128 in total. Of
	// those that change one tenant's credential one is looked at at a time.
	APICalls Limit `json:"api_calls,omitzero"`

	// Bytes of request bodies that are recorded in memory. What is beyond goes to files.
	// Default: 64 MiB of one tenant, 256 MiB in total.
	RecordedMemory Limit `json:"recorded_memory,omitzero"`

	// Bytes of request bodies that are recorded in files. What is beyond is sent on without
	// being recorded, and not sent again. Default: 1 GiB of one tenant, 4 GiB in total.
	RecordedDisk Limit `json:"recorded_disk,omitzero"`

	// Reads of the store, at a time, for tenants of which no credential is known, in total. Others
	// wait for up to 2 s. 0: any number. Default: 512, of one provider 384.
	Lookups *int64 `json:"lookups,omitempty"`
}

// Limit is one for each tenant, and one for all of them together. 0: no limit.
type Limit struct {
	Tenant *int64 `json:"tenant,omitempty"`
	Total  *int64 `json:"total,omitempty"`
}

const defaultLookups = 512

// limitSettings are the limits that have a part for each tenant, in the order of
// [budget.Kind].
var limitSettings = []struct {
	name          string
	of            func(*Limits) *Limit
	tenant, total int64 // the defaults
	parse         func(string) (int64, error)
}{
	budget.Requests:  {"requests", func(l *Limits) *Limit { return &l.Requests }, 10_000, 20_000, parseCount},
	budget.Refreshes: {"refreshes", func(l *Limits) *Limit { return &l.Refreshes }, 5000, 10_000, parseCount},
	budget.Calls:     {"api_calls", func(l *Limits) *Limit { return &l.APICalls }, 32, 128, parseCount},
	budget.Memory:    {"recorded_memory", func(l *Limits) *Limit { return &l.RecordedMemory }, 64 << 20, 256 << 20, parseSize},
	budget.Disk:      {"recorded_disk", func(l *Limits) *Limit { return &l.RecordedDisk }, 1 << 30, 4 << 30, parseSize},
}

// check checks the limits, which may be nil.
func (l *Limits) check() error {
	if l == nil {
		return nil
	}
	for _, setting := range limitSettings {
		limit := setting.of(l)
		for _, value := range []*int64{limit.Tenant, limit.Total} {
			if value != nil && *value < 0 {
				return fmt.Errorf("limits: %s cannot be below zero", setting.name)
			}
		}
		if limit.Tenant != nil && limit.Total != nil && *limit.Total > 0 && *limit.Tenant > *limit.Total {
			return fmt.Errorf("limits: %s of one tenant cannot be more than in total", setting.name)
		}
	}
	if l.Lookups != nil && *l.Lookups < 0 {
		return fmt.Errorf("limits: lookups cannot be below zero")
	}
	return nil
}

// lookups makes the line of those who read the store for unknown tenants.
func (l *Limits) lookups(unset int64) *budget.Line {
	if l != nil && l.Lookups != nil {
		return budget.NewLine(*l.Lookups)
	}
	return budget.NewLine(unset)
}

// budgets returns the limits of a provider in an app, both of which may be nil. lookups is
// the app's.
func budgets(app, provider *Limits, lookups *budget.Line) budget.Limits {
	if app == nil {
		app = new(Limits)
	}
	if provider == nil {
		provider = new(Limits)
	}
	limits := budget.Limits{Lookups: []*budget.Line{provider.lookups(defaultLookups * 3 / 4), lookups}}
	for kind, setting := range limitSettings {
		general, own := setting.of(app), setting.of(provider)
		limits.Tenant[kind] = firstGiven(setting.tenant, own.Tenant, general.Tenant)
		limits.Provider[kind] = firstGiven(0, own.Total)
		limits.Total[kind] = firstGiven(setting.total, general.Total)
	}
	return limits
}

func firstGiven(unset int64, values ...*int64) int64 {
	for _, value := range values {
		if value != nil {
			return *value
		}
	}
	return unset
}

// unmarshalLimits reads a block of limits.
func unmarshalLimits(d *caddyfile.Dispenser, target **Limits) error {
	if *target != nil {
		return d.Err("limits is given twice")
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	l := new(Limits)
	*target = l
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := l.unmarshalOne(d); err != nil {
			return err
		}
		if err := l.check(); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

func (l *Limits) unmarshalOne(d *caddyfile.Dispenser) error {
	name, args := d.Val(), d.RemainingArgs()
	if name == "lookups" {
		if l.Lookups != nil {
			return d.Errf("%s is given twice", name)
		}
		return unmarshalAmounts(d, name, args, parseCount, &l.Lookups)
	}
	for _, setting := range limitSettings {
		if setting.name != name {
			continue
		}
		limit := setting.of(l)
		if *limit != (Limit{}) {
			return d.Errf("%s is given twice", name)
		}
		return unmarshalAmounts(d, name, args, setting.parse, &limit.Tenant, &limit.Total)
	}
	return d.Errf("unrecognized subdirective '%s' of limits", name)
}

// unmarshalAmounts reads one argument at least, and no more than there are targets.
func unmarshalAmounts(d *caddyfile.Dispenser, name string, args []string, parse func(string) (int64, error), targets ...**int64) error {
	if len(args) == 0 || len(args) > len(targets) {
		return d.ArgErr()
	}
	for i, text := range args {
		amount := int64(0)
		if text != "off" {
			var err error
			if amount, err = parse(text); err != nil || amount <= 0 {
				return d.Errf("%s: '%s' is neither an amount nor off", name, text)
			}
		}
		*targets[i] = &amount
	}
	return nil
}

// unmarshalCount reads one number above zero.
func unmarshalCount(d *caddyfile.Dispenser, target *int64) error {
	name := d.Val()
	if *target != 0 {
		return d.Errf("%s is given twice", name)
	}
	var text string
	if !d.AllArgs(&text) {
		return d.ArgErr()
	}
	n, err := parseCount(text)
	if err != nil || n <= 0 {
		return d.Errf("%s: '%s' is not a number above zero", name, text)
	}
	*target = n
	return nil
}

func parseCount(text string) (int64, error) { return strconv.ParseInt(text, 10, 32) }

func parseSize(text string) (int64, error) {
	size, err := humanize.ParseBytes(text)
	if err == nil && size > 1<<50 {
		err = strconv.ErrRange
	}
	return int64(size), err //nolint:gosec // no more than 1<<50
}
