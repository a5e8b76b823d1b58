;; Components in a component, each made twice, and one that is known by what is around it.
(component
  (component $outer
    (component $inner)
    (instance (instantiate $inner))
    (instance (instantiate $inner)))
  (component $user
    (alias outer 1 $outer (component $known))
    (instance (instantiate $known)))
  (instance (instantiate $outer))
  (instance (instantiate $user)))
