package connect

import (
	"regexp"

	"github.com/tidwall/gjson"
)

const (
	maxClaims     = 4
	maxClaimValue = 256
)

// claimName is what may be asked of an account: a claim, or one within another.
var claimName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,3}$`)

// checkAccount reports whether it can be told of an account that it is the wanted one.
func (f *Flow) checkAccount(want map[string]string) error {
	if len(want) == 0 {
		return nil
	}
	if f.config.Issuer == "" && f.config.UserinfoURL == nil || len(want) > maxClaims {
		return ErrAccount
	}
	for name, value := range want {
		if !claimName.MatchString(name) || value == "" || len(value) > maxClaimValue {
			return ErrAccount
		}
	}
	return nil
}

// isAccount reports whether an account is the wanted one, by the claims of its id token
// or else its userinfo.
func isAccount(want map[string]string, claims, info []byte) bool {
	for name, value := range want {
		source := claims
		if !gjson.GetBytes(claims, name).Exists() {
			source = info
		}
		got := gjson.GetBytes(source, name)
		switch {
		case got.Type != gjson.String && got.Type != gjson.Number, got.String() != value:
			return false
		case name == "email" && gjson.GetBytes(source, "email_verified").Type == gjson.False:
			return false // anybody could say that it is theirs
		}
	}
	return true
}

// tellsAll reports whether the claims of an id token have all that is wanted.
func tellsAll(want map[string]string, claims []byte) bool {
	for name := range want {
		if !gjson.GetBytes(claims, name).Exists() {
			return false
		}
	}
	return true
}
