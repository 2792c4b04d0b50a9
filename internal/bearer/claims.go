package bearer

import (
	"errors"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// leeway is by how much the clock of whoever issues tokens may differ from ours: so much
// longer than until "exp" is a token accepted, and so much before "nbf". The
// library takes "exp" for the last moment that counts, RFC 7519 section 4.1.4 for the
// first that does not.
const leeway = 30*time.Second - 1

// check checks a verified payload, but for what it says of tenants.
func (v *Verifier) check(payload []byte) error {
	// Not encoding/json, which takes the last of two equal names: of those, two readers
	// may take different ones. "null" leaves nil.
	var object map[string]any
	if err := json.Unmarshal(payload, &object); err != nil || object == nil {
		return errPayload
	}
	var claims jwt.Claims
	if err := json.Unmarshal(payload, &claims); err != nil {
		return errClaims
	}
	if claims.Expiry == nil {
		return errNoExpiry
	}
	expected := jwt.Expected{Issuer: v.config.Issuer}
	if v.config.Audience != "" {
		expected.AnyAudience = jwt.Audience{v.config.Audience}
	}
	if err := claims.ValidateWithLeeway(expected, leeway); err != nil {
		return refusal(err)
	}
	issued := time.Now()
	if at := claims.IssuedAt.Time(); claims.IssuedAt != nil && at.Before(issued) {
		issued = at
	}
	if claims.Expiry.Time().Sub(issued)-leeway > time.Duration(v.config.MaxLifetime) {
		return errLifetime
	}
	return nil
}

// caller returns who a verified payload says the caller is.
func (v *Verifier) caller(payload []byte) (Caller, error) {
	if err := v.check(payload); err != nil {
		return Caller{}, err
	}
	caller := Caller{Operator: v.isOperator(payload)}
	claim := gjson.GetBytes(payload, v.config.TenantClaim)
	if !claim.Exists() {
		if caller.Operator {
			return caller, nil
		}
		return Caller{}, errNoTenant
	}
	tenant, err := credential.ParseTenant(claim.Str) // "" unless it is a string
	if err != nil {
		return Caller{}, errTenant
	}
	caller.Tenant = tenant
	return caller, nil
}

// tenants returns those that a verified payload names: one, or an array of them.
func (v *Verifier) tenants(payload []byte) (Tenants, error) {
	if err := v.check(payload); err != nil {
		return Tenants{}, err
	}
	tenants := Tenants{Operator: v.isOperator(payload)}
	for _, name := range gjson.GetBytes(payload, v.config.TenantClaim).Array() {
		tenants.Names = append(tenants.Names, name.Str) // "" unless it is a string, which names nobody
	}
	if len(tenants.Names) == 0 && !tenants.Operator {
		return Tenants{}, errNoTenant
	}
	return tenants, nil
}

// isOperator reports whether the operator's claim is the operator's value, or an
// array that has it.
func (v *Verifier) isOperator(payload []byte) bool {
	return v.config.Operators.Claim != "" && slices.ContainsFunc(
		gjson.GetBytes(payload, v.config.Operators.Claim).Array(),
		func(value gjson.Result) bool {
			return value.Type == gjson.String && value.Str == v.config.Operators.Value
		},
	)
}

// refusal says what an error of the library means.
func refusal(err error) error {
	switch {
	case errors.Is(err, jwt.ErrExpired):
		return ErrExpired
	case errors.Is(err, jwt.ErrInvalidIssuer):
		return errIssuer
	case errors.Is(err, jwt.ErrInvalidAudience):
		return errAudience
	case errors.Is(err, jwt.ErrNotValidYet), errors.Is(err, jwt.ErrIssuedInTheFuture):
		return errNotYet
	}
	return ErrInvalid
}
