package scheme

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Basic is HTTP Basic authentication (RFC 7617), in UTF-8. The password may be
// empty, the user name not, as some services take an API key as the user name.
type Basic struct {
	User     *Template
	Password *Template
}

func (b *Basic) check() error {
	if b.User == nil || len(b.User.parts) == 0 {
		return errors.New("basic has no user name")
	}
	if b.Password == nil {
		return errors.New("basic has no password")
	}
	if err := b.User.checkLiterals(validUser); err != nil {
		return fmt.Errorf("user name of basic: %w", err)
	}
	if err := b.Password.checkLiterals(validPassword); err != nil {
		return fmt.Errorf("password of basic: %w", err)
	}
	return nil
}

// validUser is the rule for user names: RFC 7617 section 2 takes the first colon
// for the end of the name, and allows no control characters.
func validUser(value string) string {
	if strings.Contains(value, ":") {
		return "has a colon in it, which a user name cannot have"
	}
	if value == "" {
		return "is empty"
	}
	return validPassword(value)
}

func validPassword(value string) string {
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "has a control character in it"
	}
	if !utf8.ValidString(value) {
		return "is not UTF-8"
	}
	return ""
}

// authorization returns the value of the Authorization header.
func (b *Basic) authorization(c *credential.Credential) (string, error) {
	user, err := b.User.execute(c, validUser)
	if err != nil {
		return "", err
	}
	password, err := b.Password.execute(c, validPassword)
	if err != nil {
		return "", err
	}
	const prefix = "Basic "
	pair := user + ":" + password
	value := make([]byte, len(prefix), len(prefix)+base64.StdEncoding.EncodedLen(len(pair)))
	copy(value, prefix)
	return string(base64.StdEncoding.AppendEncode(value, []byte(pair))), nil
}
