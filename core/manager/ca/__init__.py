"""Issues identities: certificates that say who a workload is (SPIFFE X.509-SVID), to whoever proves to be it.

`authority` signs and knows nothing of who asks; attestors tell who asks and know nothing of certificates; `issuer`
joins the two, and servers lead to it. Not for certificates of gateways: those are somebody else's.
"""
