package credential

// memo is a value that an owner computed from a credential.
type memo struct{ owner, value any }

// Memo returns what compute makes of c, computing it again only if the last
// call was for another owner. It lets a configuration keep, for as long as c is
// cached, what it derives from it: the check against its schema, the values of
// its templates. The owner is compared by ==; compute must depend on c and the
// owner alone, and may run more than once.
func (c *Credential) Memo(owner any, compute func() any) any {
	if m := c.memo.Load(); m != nil && m.owner == owner {
		return m.value
	}
	m := &memo{owner: owner, value: compute()}
	c.memo.Store(m)
	return m.value
}
