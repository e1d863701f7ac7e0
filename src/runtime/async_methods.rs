//! `async fn` in our traits and in what implements them.

/// Writes each `async fn` as `#[async_trait]` would, so that an implementation with that attribute
/// fits the trait: the future in a box, and a lifetime for each reference among the arguments.
///
/// This spares every user of the crate a parser of Rust, which takes longer to build than we do. The
/// macro knows the shapes of arguments that our traits have: a reference in another place is a
/// missing lifetime, so the build fails.
macro_rules! async_methods {
    () => {};
    (
        $(#[$attribute:meta])*
        async fn $name:ident $inputs:tt $(-> $answer:ty)?;
        $($rest:tt)*
    ) => {
        $crate::runtime::async_methods! {
            @receiver [$(#[$attribute])*] $name $inputs [$($answer)?] [;]
        }
        $crate::runtime::async_methods! { $($rest)* }
    };
    (
        $(#[$attribute:meta])*
        async fn $name:ident $inputs:tt $(-> $answer:ty)? $body:block
        $($rest:tt)*
    ) => {
        $crate::runtime::async_methods! {
            @receiver [$(#[$attribute])*] $name $inputs [$($answer)?] [$body]
        }
        $crate::runtime::async_methods! { $($rest)* }
    };

    (@receiver $attributes:tt $name:ident (&mut $self:ident $(, $($inputs:tt)*)?) $($end:tt)*) => {
        $crate::runtime::async_methods! {
            @argument $attributes $name ['this] ['one 'two] [&'this mut $self]
            [$($($inputs)*)?] $($end)*
        }
    };
    (@receiver $attributes:tt $name:ident (&$self:ident $(, $($inputs:tt)*)?) $($end:tt)*) => {
        $crate::runtime::async_methods! {
            @argument $attributes $name ['this] ['one 'two] [&'this $self]
            [$($($inputs)*)?] $($end)*
        }
    };

    // `&LimitCheck<'_>`
    (
        @argument $attributes:tt $name:ident [$($used:lifetime)*] [$one:lifetime $two:lifetime]
        [$($done:tt)*] [$input:ident: &$type:ident<'_> $(, $($inputs:tt)*)?] $($end:tt)*
    ) => {
        $crate::runtime::async_methods! {
            @argument $attributes $name [$($used)* $one $two] []
            [$($done)*, $input: &$one $type<$two>] [$($($inputs)*)?] $($end)*
        }
    };
    // `&KeyDigest`
    (
        @argument $attributes:tt $name:ident [$($used:lifetime)*] [$next:lifetime $($free:lifetime)*]
        [$($done:tt)*] [$input:tt: &$type:ty $(, $($inputs:tt)*)?] $($end:tt)*
    ) => {
        $crate::runtime::async_methods! {
            @argument $attributes $name [$($used)* $next] [$($free)*]
            [$($done)*, $input: &$next $type] [$($($inputs)*)?] $($end)*
        }
    };
    // `Option<&OwnerId>`
    (
        @argument $attributes:tt $name:ident [$($used:lifetime)*] [$next:lifetime $($free:lifetime)*]
        [$($done:tt)*] [$input:ident: Option<&$type:ty> $(, $($inputs:tt)*)?] $($end:tt)*
    ) => {
        $crate::runtime::async_methods! {
            @argument $attributes $name [$($used)* $next] [$($free)*]
            [$($done)*, $input: Option<&$next $type>] [$($($inputs)*)?] $($end)*
        }
    };
    (
        @argument $attributes:tt $name:ident $used:tt $free:tt
        [$($done:tt)*] [$input:ident: $type:ty $(, $($inputs:tt)*)?] $($end:tt)*
    ) => {
        $crate::runtime::async_methods! {
            @argument $attributes $name $used $free
            [$($done)*, $input: $type] [$($($inputs)*)?] $($end)*
        }
    };
    (@argument $attributes:tt $name:ident $used:tt $free:tt $done:tt [] [] $body:tt) => {
        $crate::runtime::async_methods! { @method $attributes $name $used $done [()] $body }
    };
    (@argument $attributes:tt $name:ident $used:tt $free:tt $done:tt [] $answer:tt $body:tt) => {
        $crate::runtime::async_methods! { @method $attributes $name $used $done $answer $body }
    };

    (
        @method [$($attributes:tt)*] $name:ident [$($used:lifetime)*]
        [$($done:tt)*] [$answer:ty] [;]
    ) => {
        $($attributes)*
        fn $name<$($used,)* 'future>(
            $($done)*
        ) -> ::std::pin::Pin<Box<dyn ::std::future::Future<Output = $answer> + Send + 'future>>
        where
            $($used: 'future,)*
            Self: 'future;
    };
    (
        @method [$($attributes:tt)*] $name:ident [$($used:lifetime)*]
        [$($done:tt)*] [$answer:ty] [$body:block]
    ) => {
        $($attributes)*
        fn $name<$($used,)* 'future>(
            $($done)*
        ) -> ::std::pin::Pin<Box<dyn ::std::future::Future<Output = $answer> + Send + 'future>>
        where
            $($used: 'future,)*
            Self: 'future,
        {
            Box::pin(async move $body)
        }
    };
}

pub(crate) use async_methods;
