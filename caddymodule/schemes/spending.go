package schemes

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// Spending is how the tokens of a scheme that renews credentials are spent.
type Spending struct {
	// How long before its expiry a token is refreshed, in the background, by the
	// first request that finds it so. A negative value means never, as 0s does in a
	// Caddyfile. Default: 60s.
	RefreshAhead caddy.Duration `json:"refresh_ahead,omitempty"`

	// What becomes of a refresh token that was used: `single_use`, it is worth
	// nothing any more; `grace`, it still counts for rotation_grace; `none`, it
	// does not change, and needs no claim in the store before it is used. Default:
	// `single_use`.
	Rotation string `json:"rotation,omitempty"`

	// With rotation `grace`: how long the previous refresh token still counts. From
	// 11s to 10s before its end, by the store's clock, another process may use the
	// token of one that has not answered; so it has an effect above 21s.
	RotationGrace caddy.Duration `json:"rotation_grace,omitempty"`

	// How old a refresh has to be, by the store's clock, before another process takes
	// it over whose owner fell silent, and sends its refresh token again. It does not
	// wait for an exited process whose journal it has. Until shortly before that the
	// owner listens for the answer. At least 15s, since a token is sent within 10s; a
	// token that was seen to stay what it is when it is used is taken over after 30s. A
	// negative value means never: then no refresh token is ever sent twice, and after
	// a crash in mid-refresh somebody has to authorize anew. Default: 10m.
	Takeover caddy.Duration `json:"takeover,omitempty"`

	// How long a refresh token is left unused before it is refreshed although no request
	// comes, for those that end unless they are used. That is done at a point of each
	// tenant's own after half of that time, and before all of it, or earlier if the server
	// said that the token ends earlier. Of several processes one does it. The store has to
	// list tenants. At least 1h. Default: tokens that no request needs are left alone.
	KeepAlive caddy.Duration `json:"keep_alive,omitempty"`
}

// renewal is how tokens are spent.
func (conf *Spending) renewal() scheme.Renewal {
	return scheme.Renewal{
		RefreshAhead:  time.Duration(conf.RefreshAhead),
		Rotation:      scheme.Rotation(conf.Rotation),
		RotationGrace: time.Duration(conf.RotationGrace),
		Takeover:      time.Duration(conf.Takeover),
		KeepAlive:     time.Duration(conf.KeepAlive),
	}
}

// unmarshalSpending reads refresh_ahead, rotation, takeover or keep_alive.
func (conf *Spending) unmarshalSpending(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "rotation":
		return conf.unmarshalRotation(d)
	case "takeover":
		return conf.unmarshalTakeover(d)
	case "keep_alive":
		if err := config.DurationArg(d, &conf.KeepAlive); err != nil {
			return err
		}
		return config.WrapErr(d, "", checkRenewal(conf))
	}
	if err := config.DurationOrZeroArg(d, &conf.RefreshAhead); err != nil {
		return err
	}
	if conf.RefreshAhead == 0 {
		conf.RefreshAhead = -1 // 0 in JSON is the default
	}
	return nil
}

// unmarshalRotation reads: rotation single_use|none|grace <duration>
func (conf *Spending) unmarshalRotation(d *caddyfile.Dispenser) error {
	if conf.Rotation != "" {
		return d.Err("rotation is given twice")
	}
	if !d.NextArg() {
		return d.ArgErr()
	}
	conf.Rotation = d.Val()
	if conf.Rotation == string(scheme.RotationGrace) {
		return config.DurationArg(d, &conf.RotationGrace)
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return config.WrapErr(d, "", checkRenewal(conf))
}

// unmarshalTakeover reads: takeover <duration>|never
func (conf *Spending) unmarshalTakeover(d *caddyfile.Dispenser) error {
	if conf.Takeover != 0 {
		return d.Err("takeover is given twice")
	}
	if d.CountRemainingArgs() == 1 {
		d.NextArg()
		if d.Val() == "never" {
			conf.Takeover = caddy.Duration(-1)
			return nil
		}
		d.Prev()
	}
	if err := config.DurationArg(d, &conf.Takeover); err != nil {
		return err
	}
	return config.WrapErr(d, "", checkRenewal(conf))
}

// checkRenewal checks what a line can get wrong alone.
func checkRenewal(conf *Spending) error {
	renewal := conf.renewal()
	return renewal.Check()
}
