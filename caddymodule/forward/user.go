package forward

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/failure"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
)

const (
	// headerCredentials is the field with a proxy's user and password, for the request to the
	// proxy, and, with the password alone, for a claimed request. Caddy's logs leave it out.
	headerCredentials = "Proxy-Authorization"

	// userPlaceholder is the name of the placeholder of the proxy's user.
	userPlaceholder = "upstream_auth.proxy_user"
)

// identification is what the settings of claimed requests say of who makes them.
type identification struct {
	asked bool // for a user and a password
	early bool // and these are enough to decide about them
}

func identificationOf(settings json.RawMessage) identification {
	tenant := gjson.GetBytes(settings, "tenant").Str
	names := strings.Contains(tenant, "{"+userPlaceholder+"}")
	rest := strings.ReplaceAll(tenant, "{"+userPlaceholder+"}", "")
	checks := gjson.GetBytes(settings, "authorize.secret.header").Str == headerCredentials ||
		gjson.GetBytes(settings, "authorize.jwt.header").Str == headerCredentials
	return identification{asked: names || checks, early: tenant != "" && !strings.Contains(rest, "{")}
}

// Authorizes reports whether somebody is asked who they are before they may use a tenant.
func (f *Forward) Authorizes() bool { return gjson.GetBytes(f.Settings, "authorize").IsObject() }

// withProxyPassword has `authorize` look at the proxy's password where it names no field.
func withProxyPassword(settings json.RawMessage) json.RawMessage {
	for _, kind := range []string{"secret", "jwt"} {
		own := gjson.GetBytes(settings, "authorize."+kind)
		if own.IsObject() && own.Get("header").Str == "" {
			settings, _ = sjson.SetBytes(settings, "authorize."+kind+".header", headerCredentials)
		}
	}
	return settings
}

// user is who makes requests to the proxy.
type user struct{ name, password string }

var (
	errNoUser  = errors.New("no user and password are given")
	errBadUser = errors.New("user and password are not given as Basic, once")
)

// user returns who makes a request to the proxy, and takes the password out of it.
func (who identification) user(r *http.Request) (user, error) {
	fields := r.Header[headerCredentials]
	delete(r.Header, headerCredentials)
	delete(r.Header, "Proxy-Connection")
	switch {
	case len(fields) == 0 && who.asked:
		return user{}, errNoUser
	case len(fields) == 0:
		return user{}, nil
	case len(fields) > 1:
		return user{}, errBadUser
	}
	name, password, ok := (&http.Request{Header: http.Header{"Authorization": fields}}).BasicAuth()
	if !ok {
		return user{}, errBadUser
	}
	return user{name, password}, nil
}

// put has a claimed request made by a user.
func (u user) put(r *http.Request) {
	replacerOf(r).Set(userPlaceholder, u.name)
	delete(r.Header, headerCredentials)
	if u.password != "" {
		r.Header[headerCredentials] = []string{u.password}
	}
}

// admit decides about a user before anything is done for them, if that can be decided by
// the user alone.
func (f *Forward) admit(r *http.Request, c *claim, u user) error {
	if !f.who.early || !f.who.asked {
		return nil
	}
	u.put(r)
	defer delete(r.Header, headerCredentials)
	return c.encrypted.Admits(r)
}

// refuseUser answers a request to the proxy whose user is refused, or cannot be looked up.
func refuseUser(w http.ResponseWriter, r *http.Request, err error) error {
	if errors.Is(err, credential.ErrUnavailable) {
		return refuse(w, r, http.StatusServiceUnavailable, proxy.CodeStoreUnavailable, err)
	}
	w.Header().Set("Proxy-Authenticate", `Basic realm="upstream_auth", charset="UTF-8"`)
	return failure.With(w, r, http.StatusProxyAuthRequired, proxy.CodeProxyCredentials, err)
}
